"""The sections of the configuration for bridges, and the form of every setting."""
# ruff: noqa: RUF009 - `setting` returns a field of a frozen dataclass

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def setting(value: Any, help: str, **metadata: Any) -> Any:
    """Returns a field with a default and its metadata: `help`, `range` of a number, `default` of a computed one."""
    return field(default=value, metadata={"help": help, **metadata})


@dataclass(frozen=True, slots=True)
class IrcConfig:
    """[irc]: the bridge to a channel of IRC or Twitch, whose lines come to paper and are answered."""

    server: str = setting("", 'HOST or HOST:PORT, on Twitch "irc.chat.twitch.tv"; "": there is no bridge')
    tls: bool = setting(True, "the connection is encrypted")
    ca_file: Path | None = setting(None, "file with the certificate authorities to trust")
    nick: str = setting("asr33", "name of the machine there; on Twitch the account")
    channels: tuple[str, ...] = setting((), 'channels to join, such as ["#teletype"]')
    password_file: Path | None = setting(None, "file with the password, on Twitch the token of the account")
    sasl_user: str = setting("", "account of the network (SASL), whose password is in password_file")
    answer_to: tuple[str, ...] = setting(
        ("command", "name"), "what the model answers: `command`, its `name`, a `question`, and a `timer`"
    )
    command: str = setting("!gpt2", "word at the begin of a line that makes the model answer")
    timer_minutes: float = setting(30.0, "minutes after a line of a person, for `timer`", range=(0.1, 10_080))
    persona: str | None = setting(
        None, "speaker as whom the model answers", default="the persona of the conversation, or the nick"
    )
    cue: str | None = setting(
        None, "text before the lines of the room", default="one about a chat room, for a model that knows no speakers"
    )
    lines: int = setting(5, "lines of the room that the model sees, its own among them", range=(1, 100))
    length: int = setting(400, "characters after which an answer ends with its sentence", range=(20, 4_000))
    keep_minutes: float = setting(60.0, "minutes after which a line is no longer worth its paper", range=(1, 10_080))
    ignore: tuple[str, ...] = setting(
        ("nightbot", "streamelements", "streamlabs", "moobot", "fossabot"),
        "nicks neither printed nor answered",
    )
