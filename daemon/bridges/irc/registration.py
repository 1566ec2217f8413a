"""The first lines of a connection: password, capabilities, SASL, and a nick that is free. Pure.

It ends with the server's 001. A server without capabilities answers CAP with an error, or not at all.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from daemon.bridges.irc.irc_message import IrcMessage, encode_message

_SHORT_NICK = 9  # characters that every server allows - RFC 1459 1.2
_MAX_NICKS = 10
_SASL_CHUNK = 400  # characters of base64 in one line - IRCv3 sasl-3.1
_WANTED = {"message-tags", "chghost", "twitch.tv/tags", "twitch.tv/commands"}
_SASL_FAILURES = {"902", "904", "905", "906", "908"}
_NICK_TAKEN = {"433", "436", "437"}


@dataclass(frozen=True, slots=True)
class IrcIdentity:
    """Who the bridge is on a network. The passwords are in no log."""

    nick: str
    channels: tuple[str, ...]
    user: str = "asr33"
    real_name: str = "A Teletype Model 33: an automated account"
    password: str = field(default="", repr=False)  # of the server; on Twitch the token
    sasl_user: str = ""
    sasl_password: str = field(default="", repr=False)
    has_notices: bool = True  # Twitch drops a client's NOTICE


class RegistrationFailed(Exception):
    """The server does not let this client in; the message is one line with the cure."""


class Registration:
    """One registration. `send` gets each line for the server."""

    def __init__(self, identity: IrcIdentity, send: Callable[[bytes], None]) -> None:
        self.nick = identity.nick
        self._identity = identity
        self._send = send
        self._offered: set[str] = set()
        self._tried_nicks = 1

    def start(self) -> None:
        if self._identity.password:
            self._send(encode_message("PASS", self._identity.password))
        self._send(encode_message("CAP", "LS", "302"))
        self._send(encode_message("NICK", self.nick))
        self._send(encode_message("USER", self._identity.user, "0", "*", self._identity.real_name))

    def receive(self, message: IrcMessage) -> None:
        """Answers a message of the server. Raises RegistrationFailed."""
        match message.command:
            case "CAP":
                self._receive_capabilities(message)
            case "AUTHENTICATE" if message.parameter(0) == "+":
                self._send_account()
            case "903":
                self._end_capabilities()
            case command if command in _SASL_FAILURES:
                raise RegistrationFailed("the server refuses the account: see [irc] sasl_user and password_file")
            case command if command in _NICK_TAKEN:
                self._try_nick(
                    self.nick[: _SHORT_NICK - 1] + (str(self._tried_nicks - 1) if self._tried_nicks > 1 else "_")
                )
            case "432":
                self._try_nick(_make_valid_nick(self.nick))
            case "464" | "ERROR" if message.command == "464" or "password" in message.parameter(-1).lower():
                raise RegistrationFailed("the server refuses the password: see [irc] password_file")  # ngircd: ERROR
            case "465":
                raise RegistrationFailed("the server has banned this computer")
            case "NOTICE" if re.match(r"(login (auth|unsucc)|improperly formatted auth)", message.parameter(-1), re.I):
                raise RegistrationFailed("Twitch refuses the token: make a new one for [irc] password_file")

    def _receive_capabilities(self, message: IrcMessage) -> None:
        names = message.parameter(-1).split()
        match message.parameter(1).upper():
            case "LS":
                self._offered.update(name.partition("=")[0] for name in names)
                if message.parameter(2) != "*":  # more lines follow a line with a star
                    self._request_capabilities()
            case "ACK" if "sasl" in names:
                self._send(encode_message("AUTHENTICATE", "PLAIN"))
            case "ACK" | "NAK":
                self._end_capabilities()

    def _request_capabilities(self) -> None:
        wanted = _WANTED | ({"sasl"} if self._identity.sasl_user else set())
        if self._identity.sasl_user and "sasl" not in self._offered:
            raise RegistrationFailed("the server knows no accounts (SASL): leave out [irc] sasl_user")
        if chosen := sorted(wanted & self._offered):
            self._send(encode_message("CAP", "REQ", " ".join(chosen)))
        else:
            self._end_capabilities()

    def _end_capabilities(self) -> None:
        self._send(encode_message("CAP", "END"))

    def _send_account(self) -> None:
        identity = self._identity
        for chunk in encode_sasl_plain(identity.sasl_user, identity.sasl_password):
            self._send(encode_message("AUTHENTICATE", chunk))

    def _try_nick(self, nick: str) -> None:
        self._tried_nicks += 1
        if self._tried_nicks > _MAX_NICKS:
            raise RegistrationFailed(
                f"the server accepts no nick like {self._identity.nick}: choose another in [irc] nick"
            )
        self.nick = nick
        self._send(encode_message("NICK", nick))


def encode_sasl_plain(user: str, password: str) -> Iterable[str]:
    """Yields the base64 text of SASL's PLAIN in chunks; `+` ends a text whose last chunk is full."""
    text = base64.b64encode(f"{user}\0{user}\0{password}".encode()).decode()
    for start in range(0, len(text), _SASL_CHUNK):
        yield text[start : start + _SASL_CHUNK]
    if len(text) % _SASL_CHUNK == 0:
        yield "+"


def _make_valid_nick(nick: str) -> str:
    """Returns a nick that any server allows: a letter, then letters and digits, nine together."""
    plain = re.sub(r"[^A-Za-z0-9]", "", nick).lstrip("0123456789")[:_SHORT_NICK]
    return plain if plain and plain != nick else "asr33"
