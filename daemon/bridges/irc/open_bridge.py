"""Makes the bridge from its configuration: the server's address, the account, the rooms, and the persona."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from daemon.bridge_config import IrcConfig
from daemon.bridges.chat_answer import ChatAnswer, ChatVoice, default_cue
from daemon.bridges.irc.chat_room import TRIGGERS, AskModel, ChatRoom, RoomRules
from daemon.bridges.irc.irc_bridge import BridgeParts, IrcBridge
from daemon.bridges.irc.irc_client import IrcClient
from daemon.bridges.irc.registration import IrcIdentity
from daemon.bridges.irc.send_queue import IRC_LIMITS, TWITCH_LIMITS
from daemon.bridges.password_file import read_password
from daemon.bridges.print_queue import PrintQueue
from daemon.bridges.server_address import ServerAddress, make_tls_context, parse_server_address
from daemon.config import Config
from daemon.errors import ConfigError
from model.dialogue import Speakers
from model.interface import Model

TWITCH_HOST = "irc.chat.twitch.tv"
TLS_PORT, PLAIN_PORT = 6697, 6667


def open_bridge(
    config: Config,
    queue: PrintQueue,
    model: Model,
    speakers: Speakers,
    seed: int,
    *,
    is_model_free: Callable[[], bool],
    ring_bell: Callable[[], Awaitable[None]],
    note_answer: Callable[[str, AskModel, int, ChatAnswer], None],
) -> IrcBridge:
    """Returns the bridge of [irc]; it is not connected yet. Raises ConfigError."""
    chosen = config.irc
    if not chosen.channels:
        raise ConfigError('[irc] channels: name at least one, such as channels = ["#teletype"]')
    address = parse_address(chosen)
    is_twitch = address.host.endswith(".twitch.tv")
    persona = speakers.persona if chosen.persona is None and speakers.persona else chosen.persona or chosen.nick
    cue = default_cue(persona) if chosen.cue is None and not speakers.others else chosen.cue or ""
    parts = BridgeParts(
        queue,
        model,
        ChatVoice(persona, cue),
        config.answer.make_sampling(seed, (), "message", length=chosen.length),
        is_model_free,
        ring_bell,
        note_answer,
        keep_s=chosen.keep_minutes * 60.0,
        has_receipt=chosen.receipt,
    )
    if is_twitch:  # it has its channels in lower case alone, and a nick is the account's name
        channels = tuple(channel.lower() for channel in chosen.channels)
        chosen = replace(chosen, nick=chosen.nick.lower(), channels=channels)
    client = IrcClient(_make_identity(chosen, is_twitch=is_twitch), TWITCH_LIMITS if is_twitch else IRC_LIMITS)
    return IrcBridge(address, client, _make_rooms(chosen, persona), parts)


def parse_address(config: IrcConfig) -> ServerAddress:
    """Returns the address of `server`. Raises ConfigError."""
    host, port = parse_server_address("irc", config.server, TLS_PORT if config.tls else PLAIN_PORT, TWITCH_HOST)
    return ServerAddress(host, port, make_tls_context("irc", config.ca_file) if config.tls else None)


def _make_identity(config: IrcConfig, *, is_twitch: bool) -> IrcIdentity:
    password = read_password("irc", config.password_file)
    if config.sasl_user:
        account = {"sasl_user": config.sasl_user, "sasl_password": password}
    else:
        account = {"password": f"oauth:{password.removeprefix('oauth:')}" if is_twitch and password else password}
    return IrcIdentity(config.nick, config.channels, has_notices=not is_twitch, **account)


def _make_rooms(config: IrcConfig, persona: str) -> dict[str, ChatRoom]:
    if wrong := [word for word in config.answer_to if word not in TRIGGERS]:
        raise ConfigError(f"[irc] answer_to: {wrong[0]!r} is not one of {', '.join(TRIGGERS)}")
    if not re.fullmatch(r"![^\s]{1,20}", config.command):
        raise ConfigError(f'[irc] command = {config.command!r}: it begins with "!" and has no blank')
    rooms = {}
    for channel in config.channels:
        if not re.fullmatch(r"[#&+!][^\s,\x07:]{1,63}", channel):
            raise ConfigError(f'[irc] channels: {channel!r} is no channel: write it as "#teletype"')
        rules = RoomRules(
            config.command.lower(),
            frozenset(config.answer_to),
            config.timer_minutes * 60.0,
            frozenset(nick.lower() for nick in config.ignore),
            (persona,) if persona != config.nick else (),
            config.lines,
            label=f"{channel} " if len(config.channels) > 1 else "",
        )
        rooms[channel] = ChatRoom(channel, rules)
    return rooms
