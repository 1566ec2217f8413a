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
    receipt: bool = setting(
        False, "each answer ends in a code such as [K3TX]: `asr33 log show K3TX` prints its prompt, model and seed"
    )
    keep_minutes: float = setting(60.0, "minutes after which a line is no longer worth its paper", range=(1, 10_080))
    ignore: tuple[str, ...] = setting(
        ("nightbot", "streamelements", "streamlabs", "moobot", "fossabot"),
        "nicks neither printed nor answered",
    )


@dataclass(frozen=True, slots=True)
class MentionsConfig:
    """[mentions]: accounts on Mastodon, Bluesky and X, whose mentions are answered there and come to paper."""

    mastodon: str = setting("", 'server of the account, such as "https://mastodon.social"; "": there is none')
    mastodon_token_file: Path | None = setting(None, "file with the account's access token")
    bluesky: str = setting("", 'handle of the account, such as "teletype.bsky.social"; "": there is none')
    bluesky_password_file: Path | None = setting(None, "file with an app password of the account")
    bluesky_server: str = setting("https://bsky.social", "server of the account on Bluesky")
    x: bool = setting(
        False,
        "answer on X. X takes money for it: about $0.005 for each mention that is read and $0.015 for each answer; "
        "no answer has a link, which would cost $0.20 (docs.x.com, 2026)",
    )
    x_keys_file: Path | None = setting(
        None, "file with the four keys of OAuth 1.0a, one a line: API key, its secret, access token, its secret"
    )
    x_server: str = setting("https://api.x.com", "server of X")
    ca_file: Path | None = setting(None, "file with the certificate authorities to trust")
    poll_s: float = setting(60.0, "seconds between two looks for mentions", range=(1, 86_400))
    persona: str | None = setting(
        None,
        'speaker as whom the model answers; "": it goes on with the text of the mention',
        default="the persona of the conversation, or `Teletype`",
    )
    cue: str | None = setting(
        None, "text before a mention", default="one about messages, for a model that knows no speakers"
    )
    length: int = setting(280, "characters after which an answer ends with its sentence", range=(20, 4_000))
    person_hour: int = setting(6, "answers to one person in any hour", range=(1, 1_000))
    ignore: tuple[str, ...] = setting((), 'accounts that get no answer, such as ["bot@example.org"]')
    paper: bool = setting(True, "public mentions and their answers come to paper")
    keep: str = setting("1d", 'age at which a mention is no longer printed, such as "30m", "12h" or "7d"')
    daily: str = setting("", 'local time of a daily post, such as "08:30"; "": there is none')
    daily_prompt: str = setting(
        "What is on your mind this morning?", "line that the daily post answers or goes on with"
    )

    receipt: bool = setting(
        True, "each answer ends in a code such as [K3TX]: `asr33 log show K3TX` prints its prompt, model and seed"
    )
    parody: bool = setting(
        True, "an answer ends in [parody] too, if a person of the model's corpus answers, or no persona"
    )

    @property
    def has_accounts(self) -> bool:
        return bool(self.mastodon or self.bluesky or self.x)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """[mqtt]: the machine as a device of home automation, at a broker of MQTT 5."""

    server: str = setting("", 'HOST or HOST:PORT of the broker; "": there is no bridge')
    tls: bool = setting(False, "the connection is encrypted")
    ca_file: Path | None = setting(None, "file with the certificate authorities to trust")
    user: str = setting("", "account at the broker")
    password_file: Path | None = setting(None, "file with the password of the account")
    id: str = setting("asr33", "name of the machine in topics; each machine at a broker needs its own")
    name: str = setting("Teletype", "name of the device in Home Assistant")
    discovery: str = setting("homeassistant", 'topic under which Home Assistant looks for devices; "": not announced')
    keep_minutes: float = setting(60.0, "minutes after which a message is no longer worth its paper", range=(1, 10_080))
