"""[irc] becomes a bridge, and a wrong setting one line with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import ScriptedModel
from fakes_irc import ListedQueue

from daemon.bridge_config import IrcConfig
from daemon.bridges.irc.irc_bridge import IrcBridge
from daemon.bridges.irc.open_bridge import open_bridge, parse_address
from daemon.bridges.irc.send_queue import IRC_LIMITS, TWITCH_LIMITS
from daemon.config import AnswerConfig, Config, load_config
from daemon.errors import ConfigError
from model.dialogue import NO_PERSONA, Speakers


async def ring() -> None: ...


def open_from(speakers: Speakers = NO_PERSONA, **settings: Any) -> IrcBridge:
    irc = IrcConfig(**{"server": "irc.example.org", "channels": ("#paper",), **settings})
    return open_bridge(
        Config(irc=irc, answer=AnswerConfig(temperature=0.3)),
        ListedQueue(),
        ScriptedModel([]),
        speakers,
        7,
        is_model_free=lambda: True,
        ring_bell=ring,
        note_answer=lambda channel, ask, seed, answer: None,
    )


@pytest.mark.parametrize(
    ("server", "tls", "host", "port"),
    [
        ("irc.example.org", True, "irc.example.org", 6697),
        ("irc.example.org", False, "irc.example.org", 6667),
        ("127.0.0.1:16667", False, "127.0.0.1", 16667),
        ("[::1]:7000", True, "::1", 7000),
    ],
)
def test_the_address_of_the_server(server: str, tls: bool, host: str, port: int) -> None:
    address = parse_address(IrcConfig(server, tls))
    assert (address.host, address.port, address.tls is not None) == (host, port, tls)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"server": "http://irc.example.org"}, "HOST:PORT"),
        ({"server": "irc.example.org:99999"}, "HOST:PORT"),
        ({"channels": ()}, "#teletype"),
        ({"channels": ("paper",)}, "write it as"),
        ({"answer_to": ("commands",)}, "'commands' is not one of command, name, question, timer"),
        ({"command": "gpt2"}, 'begins with "!"'),
        ({"password_file": Path("/nowhere/token")}, "No such file"),
        ({"password_file": Path("/dev/null")}, "on one line"),
        ({"ca_file": Path("/nowhere/ca.pem")}, "ca_file"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_cure(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as failure:
        open_from(**settings)
    assert words in str(failure.value)
    assert str(failure.value).startswith("[irc] ")
    assert "\n" not in str(failure.value)


def test_the_settings_of_twitch(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc123\n")
    bridge = open_from(
        server="irc.chat.twitch.tv", nick="Teletype33", channels=("#Hugh",), password_file=token, lines=7
    )
    identity = bridge.client._identity
    assert (identity.nick, identity.channels, identity.password) == ("teletype33", ("#hugh",), "oauth:abc123")
    assert bridge.client._queue._limits is TWITCH_LIMITS
    assert set(bridge.rooms) == {"#hugh"}
    assert bridge.rooms["#hugh"].rules.memory_lines == 7
    assert "abc123" not in repr(bridge)
    assert bridge.client.notify("#hugh", "Hello.", 0.0, "ann") == ["@ann Hello."]


def test_an_account_of_the_network_gets_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("abc123")
    bridge = open_from(sasl_user="asr33", password_file=tmp_path / "password")
    identity = bridge.client._identity
    assert (identity.password, identity.sasl_user, identity.sasl_password) == ("", "asr33", "abc123")
    assert bridge.client._queue._limits is IRC_LIMITS


def test_as_whom_the_model_answers() -> None:
    assert open_from().parts.voice.persona == "asr33"
    assert "asr33 is an old Teletype" in open_from().parts.voice.cue
    taught = open_from(Speakers("Sam", "Kim", ("Kim", "Sam"))).parts.voice
    assert (taught.persona, taught.cue) == ("Sam", "")
    chosen = open_from(Speakers("Sam", "Kim", ("Kim", "Sam")), persona="Kim", cue="So.")
    assert (chosen.parts.voice.persona, chosen.parts.voice.cue) == ("Kim", "So.")
    assert chosen.rooms["#paper"].rules.names == ("Kim",)
    assert chosen.parts.sampling.temperature == 0.3
    assert chosen.parts.sampling.length == 400


def test_two_channels_have_their_names_on_paper() -> None:
    rooms = open_from(channels=("#paper", "#tea")).rooms
    assert [room.rules.label for room in rooms.values()] == ["#paper ", "#tea "]


def test_the_section_is_read_like_the_others(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[irc]\nserver = "h"\nanswer_to = ["question", "timer"]\ntimer_minutes = 5\n')
    config = load_config({}, {}, file, tmp_path)
    assert config.irc.answer_to == ("question", "timer")
    assert config.irc.timer_minutes == 5
