"""One client of IRC: bytes of the server in, events out, and the bytes to send. Pure: time is an argument.

The same object serves one connection after the other; `start` begins the next one. Chat that was not sent waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from daemon.bridges.chat_text import MAX_TEXT_CHARS, parse_ctcp, split_text
from daemon.bridges.irc.irc_message import (
    MAX_LINE_BYTES,
    IrcMessage,
    LineReader,
    encode_message,
    fold_name,
    parse_message,
)
from daemon.bridges.irc.registration import IrcIdentity, Registration, RegistrationFailed
from daemon.bridges.irc.send_queue import IRC_LIMITS, SendLimits, SendQueue

REGISTRATION_S = 60.0
PING_AFTER_S = 90.0  # of silence
DEAD_AFTER_S = 60.0  # after our own PING
KICK_WAIT_S, FIRST_JOIN_WAIT_S, MAX_JOIN_WAIT_S = 5.0, 30.0, 600.0
REGAIN_INTERVAL_S = 120.0  # between attempts to get the wanted nick back
_MAX_HOST_BYTES, _MAX_USER_BYTES = 64, 11
_JOIN_REFUSALS = {"403", "405", "437", "471", "473", "474", "475", "476", "477", "489", "520"}
_BOT_TAGS = {"bot", "draft/bot", "inspircd.org/bot"}

ChatKind = Literal["say", "action", "notice"]


@dataclass(frozen=True, slots=True)
class ChatLine:
    """A line of a person in a channel. `name` is for the paper, `nick` for the network."""

    channel: str
    nick: str
    name: str
    text: str
    kind: ChatKind = "say"
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class ChannelJoined:
    channel: str


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """A refusal that a log should show: one line."""

    text: str


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The connection is of no use any more. `is_refused`: a new one will hardly fare better."""

    reason: str
    is_refused: bool = False
    reconnect_at_once: bool = False


IrcEvent = ChatLine | ChannelJoined | ServerNotice | ConnectionEnded


@dataclass(slots=True)
class _Channel:
    name: str
    is_joined: bool = False
    join_at: float = float("inf")
    join_wait_s: float = FIRST_JOIN_WAIT_S


class IrcClient:
    """The protocol of one account. The caller moves the bytes and the time."""

    def __init__(self, identity: IrcIdentity, limits: SendLimits = IRC_LIMITS) -> None:
        self.nick = identity.nick
        self.is_online = False
        self._identity = identity
        self._queue = SendQueue(limits)
        self._case_mapping = "rfc1459"
        self._channels = {self._fold(name): _Channel(name) for name in identity.channels}
        self._begin_connection(0.0)

    def start(self, now: float) -> None:
        """Begins the registration on a new connection."""
        self._begin_connection(now)
        self._registration.start()

    def stop(self) -> None:
        """Notes that the connection is gone."""
        self._is_ended, self.is_online = True, False

    def _begin_connection(self, now: float) -> None:
        self.is_online, self._is_ended = False, False
        self.nick = self._identity.nick
        self._queue.drop_urgent()
        self._reader = LineReader()
        self._registration = Registration(self._identity, self._queue.send_now)
        self._started_at = self._heard_at = now
        self._pinged_at: float | None = None
        self._regain_at = float("inf")
        self._own_source = ""
        for channel in self._channels.values():
            channel.is_joined, channel.join_at, channel.join_wait_s = False, float("inf"), FIRST_JOIN_WAIT_S

    def feed(self, data: bytes, now: float) -> list[IrcEvent]:
        """Takes bytes of the server. Returns what happened."""
        self._heard_at, self._pinged_at = now, None
        events: list[IrcEvent] = []
        for line in self._reader.feed(data):
            if not self._is_ended and (message := parse_message(line)) is not None:
                events.extend(self._receive(message, now))
        return events

    def tick(self, now: float) -> list[IrcEvent]:
        """Does what is due at this time; the caller calls it at `next_time`."""
        if self._is_ended:
            return []
        if not self.is_online:
            late = now - self._started_at >= REGISTRATION_S
            return [self._end("the server does not finish the registration")] if late else []
        if self._pinged_at is not None and now - self._pinged_at >= DEAD_AFTER_S:
            return [self._end("the server is silent")]
        if self._pinged_at is None and now - self._heard_at >= PING_AFTER_S:
            self._pinged_at = now
            self._queue.send_now(encode_message("PING", "asr33"))
        for channel in self._channels.values():
            if channel.join_at <= now:
                channel.join_at = float("inf")
                self._queue.send_now(encode_message("JOIN", channel.name))
        if self._regain_at <= now:
            self._regain_nick(now)
        return []

    def say(self, channel: str, text: str, now: float) -> list[str]:
        """Queues a text for a channel, cut into lines that arrive whole. Returns the lines."""
        return self._queue_text("PRIVMSG", channel, channel, text, now)

    def notify(self, channel: str, text: str, now: float, nick: str = "") -> list[str]:
        """Queues a NOTICE, which no bot answers, for a channel, or for one nick in it. Returns the lines."""
        if not self._identity.has_notices:
            return self.say(channel, f"@{nick} {text}" if nick else text, now)
        return self._queue_text("NOTICE", channel, nick or channel, text, now)

    def take_output(self, now: float) -> bytes:
        """Returns the bytes that may be sent now."""
        return self._queue.take_urgent() + self._queue.take_due(now, self._is_joined)

    def next_time(self, now: float) -> float:
        """Returns when the caller should call `tick` and `take_output` again."""
        if not self.is_online:
            return self._started_at + REGISTRATION_S
        silence = self._heard_at + PING_AFTER_S if self._pinged_at is None else self._pinged_at + DEAD_AFTER_S
        joins = [channel.join_at for channel in self._channels.values()]
        return min(silence, self._regain_at, *joins, self._queue.next_time(now, self._is_joined))

    def is_own_name(self, name: str) -> bool:
        return self._fold(name) == self._fold(self.nick)

    def _queue_text(self, command: str, channel: str, target: str, text: str, now: float) -> list[str]:
        # Others get the line with our own source before it, and a server cuts what is over 512 bytes then.
        source = self._own_source or f"{self.nick}!{'u' * _MAX_USER_BYTES}@{'h' * _MAX_HOST_BYTES}"
        overhead = len(f":{source} {command} {target} :\r\n".encode())
        lines = split_text(text, MAX_LINE_BYTES - overhead, MAX_TEXT_CHARS)
        for line in lines:
            self._queue.send_later(channel, encode_message(command, target, line), now)
        return lines

    def _receive(self, message: IrcMessage, now: float) -> Iterator[IrcEvent]:
        if not self.is_online:
            try:
                self._registration.receive(message)
            except RegistrationFailed as failure:
                yield self._end(str(failure), is_refused=True)
                return
            self.nick = self._registration.nick
        match message.command:
            case "PING":
                self._queue.send_now(encode_message("PONG", *message.parameters[:1]))
            case "ERROR":
                yield self._end(f"the server says {message.parameter(-1)!r}")
            case "RECONNECT":  # of Twitch, before its server restarts
                yield self._end("the server asks for a new connection", reconnect_at_once=True)
            case "001":
                self._welcome(message.parameter(0), now)
            case "005":
                self._note_support(message.parameters[1:-1])
            case "396" if self._own_source:  # the server hides our host
                self._own_source = f"{self._own_source.partition('@')[0]}@{message.parameter(1)}"
            case "PRIVMSG" | "NOTICE":
                yield from self._receive_chat(message)
            case "JOIN" | "PART" | "KICK":
                yield from self._receive_membership(message, now)
            case "NICK" | "QUIT" | "CHGHOST":
                self._receive_change(message, now)
            case command if command in _JOIN_REFUSALS:
                yield from self._receive_join_refusal(message, now)

    def _end(self, reason: str, *, is_refused: bool = False, reconnect_at_once: bool = False) -> ConnectionEnded:
        self.stop()
        return ConnectionEnded(reason, is_refused, reconnect_at_once)

    def _welcome(self, nick: str, now: float) -> None:
        self.is_online, self.nick = True, nick or self.nick
        for channel in self._channels.values():
            self._queue.send_now(encode_message("JOIN", channel.name))
        self._schedule_regain(now)

    def _note_support(self, tokens: tuple[str, ...]) -> None:
        supported = dict(token.partition("=")[::2] for token in tokens)
        if mapping := supported.get("CASEMAPPING"):
            self._case_mapping = mapping
            self._channels = {self._fold(channel.name): channel for channel in self._channels.values()}
        if mode := supported.get("BOT"):  # IRCv3 bot-mode: others see that this is a machine
            self._queue.send_now(encode_message("MODE", self.nick, f"+{mode}"))

    def _receive_chat(self, message: IrcMessage) -> Iterator[IrcEvent]:
        channel = self._channels.get(self._fold(message.parameter(0)))
        if channel is None or "!" not in message.source or self.is_own_name(message.nick):
            return  # a private message, a server, or an echo
        text, kind = message.parameter(1), "say" if message.command == "PRIVMSG" else "notice"
        if text.startswith("\x01"):
            command, text = parse_ctcp(text) or ("", "")
            if command != "ACTION" or kind == "notice":
                return
            kind = "action"
        name = message.tags.get("display-name") or message.nick
        is_bot = not _BOT_TAGS.isdisjoint(message.tags)
        yield ChatLine(channel.name, message.nick, name, text, kind, is_bot)  # type: ignore[arg-type]

    def _receive_membership(self, message: IrcMessage, now: float) -> Iterator[IrcEvent]:
        channel = self._channels.get(self._fold(message.parameter(0)))
        subject = message.parameter(1) if message.command == "KICK" else message.nick
        if channel is None or not self.is_own_name(subject):
            return
        if message.command == "JOIN":
            channel.is_joined, channel.join_at, channel.join_wait_s = True, float("inf"), FIRST_JOIN_WAIT_S
            self._own_source = message.source if "!" in message.source else self._own_source
            yield ChannelJoined(channel.name)
        else:
            channel.is_joined, channel.join_at = False, now + KICK_WAIT_S
            yield ServerNotice(f"{message.nick} put this account out of {channel.name}: {message.parameter(-1)}")

    def _receive_change(self, message: IrcMessage, now: float) -> None:
        """Notes a new nick or host of our own, and a wanted nick that becomes free."""
        if self.is_own_name(message.nick):
            if message.command == "NICK":
                self.nick = message.parameter(0)
                self._own_source = self._own_source and f"{self.nick}!{self._own_source.partition('!')[2]}"
            elif message.command == "CHGHOST" and self._own_source:
                self._own_source = f"{self.nick}!{message.parameter(0)}@{message.parameter(1)}"
        elif self._fold(message.nick) == self._fold(self._identity.nick) and message.command != "CHGHOST":
            self._regain_nick(now)

    def _receive_join_refusal(self, message: IrcMessage, now: float) -> Iterator[IrcEvent]:
        channel = self._channels.get(self._fold(message.parameter(1)))
        if channel is not None and not channel.is_joined:
            channel.join_at = now + channel.join_wait_s
            channel.join_wait_s = min(MAX_JOIN_WAIT_S, channel.join_wait_s * 2)
            yield ServerNotice(f"{channel.name}: {message.parameter(-1)} ({message.command})")

    def _regain_nick(self, now: float) -> None:
        if not self.is_own_name(self._identity.nick):
            self._queue.send_now(encode_message("NICK", self._identity.nick))
        self._schedule_regain(now)

    def _schedule_regain(self, now: float) -> None:
        self._regain_at = float("inf") if self.is_own_name(self._identity.nick) else now + REGAIN_INTERVAL_S

    def _is_joined(self, channel: str) -> bool:
        known = self._channels.get(self._fold(channel))
        return self.is_online and known is not None and known.is_joined

    def _fold(self, name: str) -> str:
        return fold_name(name, self._case_mapping)
