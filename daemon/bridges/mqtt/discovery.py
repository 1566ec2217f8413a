"""The device as Home Assistant discovers it: its topics, its entities, and its state as JSON. Pure.

The form is that of device discovery (home-assistant.io/integrations/mqtt, since 2024.11): one retained message names
the device, the origin and the components. No retained message holds a text of a person: the state is words of
this file and numbers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

MachineState = Literal[
    "starting", "idle", "typing", "thinking", "printing", "reading", "busy", "leaving", "disconnected"
]
ONLINE, OFFLINE = "online", "offline"


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The values of the sensors. `paper_left`: lines of the roll; None: it is not counted."""

    state: MachineState
    characters_today: int
    paper_left: int | None
    hours: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device. `id` tells it from other machines at the same broker."""

    id: str
    discovery_prefix: str = "homeassistant"

    @property
    def config(self) -> str:
        return f"{self.discovery_prefix}/device/asr33_{self.id}/config"

    @property
    def notify(self) -> str:
        return f"asr33/{self.id}/notify"

    @property
    def receipt(self) -> str:
        return f"asr33/{self.id}/receipt"

    @property
    def state(self) -> str:
        return f"asr33/{self.id}/state"

    @property
    def availability(self) -> str:
        return f"asr33/{self.id}/availability"


def make_discovery(topics: DeviceTopics, name: str, version: str, *, is_motor_switched: bool) -> dict[str, Any]:
    """Returns the message of discovery. `is_motor_switched`: the hours are those of the motor, else of the daemon."""
    hours = "Motor hours" if is_motor_switched else "Hours since the start"
    return {
        "device": {
            "identifiers": [f"asr33_{topics.id}"],
            "name": name,
            "manufacturer": "Teletype Corporation",
            "model": "Model 33 ASR",
            "sw_version": f"asr33 {version}",
        },
        "origin": {"name": "asr33", "sw_version": version},
        "availability_topic": topics.availability,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "qos": 1,
        "components": {
            "print": {
                "platform": "notify",
                "unique_id": f"asr33_{topics.id}_print",
                "name": "Print",
                "command_topic": topics.notify,
                "icon": "mdi:printer",
            },
            "state": _sensor(topics, "state", "State", device_class="enum", options=list(get_args(MachineState))),
            "characters_today": _sensor(
                topics,
                "characters_today",
                "Characters today",
                unit_of_measurement="characters",
                state_class="total_increasing",
                icon="mdi:format-letter-case",
            ),
            "paper_left": _sensor(
                topics,
                "paper_left",
                "Paper left",
                unit_of_measurement="lines",
                state_class="measurement",
                icon="mdi:paper-roll",
            ),
            "hours": _sensor(
                topics,
                "hours",
                hours,
                device_class="duration",
                unit_of_measurement="h",
                state_class="total_increasing",
            ),
        },
    }


def _sensor(topics: DeviceTopics, key: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "unique_id": f"asr33_{topics.id}_{key}",
        "name": name,
        "state_topic": topics.state,
        "value_template": f"{{{{ value_json.{key} }}}}",
        **fields,
    }
