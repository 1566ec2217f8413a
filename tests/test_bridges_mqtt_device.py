"""The device of home automation without a broker: discovery, messages, the day's count, and the settings."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from fakes_irc import ListedQueue
from hypothesis import given
from hypothesis import strategies as st

from daemon.bridge_config import MqttConfig
from daemon.bridges.mqtt.daily_count import DailyCount
from daemon.bridges.mqtt.discovery import DeviceTopics, MachineReading, MachineState, make_discovery
from daemon.bridges.mqtt.mqtt_bridge import MqttBridge
from daemon.bridges.mqtt.note import MAX_NOTE_BYTES, NoteRefused, read_note
from daemon.bridges.mqtt.open_mqtt_bridge import open_mqtt_bridge
from daemon.errors import ConfigError
from drivers.events import CharacterStruck

# What Home Assistant takes, from the pages of its integrations mqtt, notify.mqtt and sensor.mqtt, and from
# DEVICE_DISCOVERY_SCHEMA in homeassistant/components/mqtt/schemas.py. An unknown key of a device or an origin is an
# error there; one of a component is dropped.
DEVICE_KEYS = {
    *("identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number"),
    *("sw_version", "via_device", "suggested_area", "configuration_url"),
}
ORIGIN_KEYS = {"name", "sw_version", "support_url"}
ROOT_KEYS = {
    *("device", "origin", "components", "availability", "availability_mode", "availability_template"),
    *("availability_topic", "payload_available", "payload_not_available", "state_topic", "command_topic", "qos"),
    "encoding",
}
COMMON_KEYS = {"platform", "unique_id", "name", "icon"}
COMPONENT_KEYS = {
    "notify": COMMON_KEYS | {"command_topic", "command_template", "retain"},
    "sensor": COMMON_KEYS
    | {"state_topic", "value_template", "device_class", "options", "state_class", "unit_of_measurement"},
}


def read_note_or_refuse(payload: bytes) -> str:
    try:
        return read_note(payload)
    except NoteRefused:
        return ""


def test_the_discovery_has_what_home_assistant_requires_and_nothing_that_it_refuses() -> None:
    topics = DeviceTopics("den")
    message = json.loads(json.dumps(make_discovery(topics, "Teletype", "0.1", is_motor_switched=True)))
    assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", topics.config)
    assert message.keys() <= ROOT_KEYS
    assert message["device"].keys() <= DEVICE_KEYS
    assert message["device"]["identifiers"]
    assert message["origin"].keys() <= ORIGIN_KEYS
    assert message["origin"]["name"]
    components = message["components"]
    assert len({one["unique_id"] for one in components.values()}) == len(components) == 5
    for one in components.values():
        assert one.keys() <= COMPONENT_KEYS[one["platform"]]
        assert {"platform", "unique_id", "name"} <= one.keys()
        if one.get("device_class") == "enum":  # no unit, no state class: sensor.mqtt
            assert one["options"]
            assert not one.keys() & {"unit_of_measurement", "state_class"}
    assert [one["command_topic"] for one in components.values() if one["platform"] == "notify"] == [topics.notify]


def test_each_sensor_finds_its_value_in_the_state() -> None:
    topics = DeviceTopics("den")
    state = json.loads(MachineReading("idle", 5, None, 0.25).to_json())
    components = make_discovery(topics, "T", "0.1", is_motor_switched=False)["components"]
    found = {one["value_template"] for one in components.values() if one["platform"] == "sensor"}
    assert found == {f"{{{{ value_json.{key} }}}}" for key in state}
    assert components["state"]["options"] == list(get_args(MachineState))
    assert state["paper_left"] is None  # its template makes "None", which is "unknown" in Home Assistant


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"\xff\xd8\xff\xe0", "UTF-8"),
        (b"a\0b", "NUL"),
        (b"a" * (MAX_NOTE_BYTES + 1), "longer"),
        (b" \n\t", "no text"),
        (b"a\n" * 61, "lines"),
        ("\u202e\u200b".encode(), "no text"),
    ],
)
def test_a_bad_message_is_refused_with_its_reason(payload: bytes, words: str) -> None:
    with pytest.raises(NoteRefused, match=words):
        read_note(payload)
    with pytest.raises(NoteRefused, match="retained"):
        read_note(b"good", is_retained=True)


@given(st.binary(max_size=2000) | st.text(max_size=500).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_control_character_comes_through(payload: bytes) -> None:
    assert all(line.isprintable() for line in read_note_or_refuse(payload).split("\n"))


def test_lines_of_a_message_stay() -> None:
    assert read_note("Milk\r\n\x1b[31mBread\u202e\n\nEggs \n".encode()) == "Milk\n[31mBread\n\nEggs"


def strike(count: DailyCount, text: str) -> None:
    for number, character in enumerate(text):
        count.on_event(CharacterStruck(at=0.0, byte=ord(character), queued=0.0, column=number))


def test_the_count_begins_anew_at_midnight_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    day = date(2026, 3, 1)
    count = DailyCount(tmp_path / "tty.today", lambda: day)
    strike(count, "AB C\r\n")
    assert count.chars == 3
    count.save()
    assert DailyCount(tmp_path / "tty.today", lambda: day).chars == 3
    day = date(2026, 3, 2)
    strike(count, "D")
    assert count.chars == 0  # the stroke before the look at the clock belongs to the old day
    strike(count, "EF")
    assert count.chars == 2
    assert DailyCount(tmp_path / "tty.today", lambda: day).chars == 0


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"day": 3}', '{"day": "2026-03-01", "chars": "many"}'])
def test_a_damaged_count_begins_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "tty.today").write_text(damage)
    assert DailyCount(tmp_path / "tty.today", lambda: date(2026, 3, 1)).chars == 0


def test_a_full_disk_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    count = DailyCount(tmp_path / "nowhere" / "tty.today")
    strike(count, "A\n" * 40)
    assert count.chars == 40
    assert caplog.text.count("tty.today") == 1


def open_from(**settings: Any) -> MqttBridge:
    config = MqttConfig(**{"server": "broker.example.org", **settings})
    return open_mqtt_bridge(
        config, ListedQueue(), lambda: MachineReading("idle", 0, None, 0.0), is_motor_switched=False
    )


def test_the_settings(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("abc123\n")
    bridge = open_from(id="den", user="asr33", password_file=tmp_path / "password", keep_minutes=5, discovery="")
    assert (bridge.account.address.host, bridge.account.address.port) == ("broker.example.org", 1883)
    assert (bridge.account.client_id, bridge.account.password) == ("asr33-den", "abc123")
    assert (bridge.keep_s, bridge.discovery) == (300.0, None)
    assert "abc123" not in repr(bridge)
    assert open_from(tls=True).account.address.port == 8883
    assert 1.5 * bridge.account.keepalive_s < 60  # seconds until a lost machine shows


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"server": "mqtt://broker"}, "HOST:PORT"),
        ({"id": "a/b"}, "letters, digits"),
        ({"id": ""}, "letters, digits"),
        ({"discovery": "home/#"}, "it is a topic"),
        ({"password_file": Path("/nowhere/password")}, "No such file"),
        ({"tls": True, "ca_file": Path("/nowhere/ca.pem")}, "ca_file"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_cure(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as failure:
        open_from(**settings)
    assert words in str(failure.value)
    assert str(failure.value).startswith("[mqtt] ")
    assert "\n" not in str(failure.value)
