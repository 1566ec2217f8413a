"""Makes the bridge from its configuration: the broker, the account and the device."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version

from daemon.bridge_config import MqttConfig
from daemon.bridges.mqtt.broker import BrokerAccount
from daemon.bridges.mqtt.discovery import DeviceTopics, MachineReading, make_discovery
from daemon.bridges.mqtt.mqtt_bridge import MqttBridge
from daemon.bridges.password_file import read_password
from daemon.bridges.print_queue import PrintQueue
from daemon.bridges.server_address import ServerAddress, make_tls_context, parse_server_address
from daemon.errors import ConfigError

TLS_PORT, PLAIN_PORT = 8883, 1883


def open_mqtt_bridge(
    config: MqttConfig, queue: PrintQueue, read_machine: Callable[[], MachineReading], *, is_motor_switched: bool
) -> MqttBridge:
    """Returns the bridge of [mqtt]; it is not connected yet. Raises ConfigError."""
    host, port = parse_server_address("mqtt", config.server, TLS_PORT if config.tls else PLAIN_PORT, "homeassistant")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", config.id):
        raise ConfigError(f'[mqtt] id = {config.id!r}: write 1 to 40 letters, digits, _ and -, such as "asr33-den"')
    if not re.fullmatch(r"([^\s#+/]+(/[^\s#+/]+)*)?", config.discovery):
        raise ConfigError(f'[mqtt] discovery = {config.discovery!r}: it is a topic, such as "homeassistant", or ""')
    address = ServerAddress(host, port, make_tls_context("mqtt", config.ca_file) if config.tls else None)
    account = BrokerAccount(address, f"asr33-{config.id}", config.user, read_password("mqtt", config.password_file))
    topics = DeviceTopics(config.id, config.discovery)
    discovery = make_discovery(topics, config.name, version("asr33"), is_motor_switched=is_motor_switched)
    return MqttBridge(
        account,
        topics,
        discovery if config.discovery else None,
        queue,
        read_machine,
        keep_s=config.keep_minutes * 60.0,
    )
