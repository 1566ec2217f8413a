"""From [mentions] to its bridges, one for each account; the secrets are read when they are due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import time as TimeOfDay
from pathlib import Path

from daemon import paths
from daemon.archive.answer_code import compute_chat_code
from daemon.bridge_config import MentionsConfig
from daemon.bridges.chat_answer import ChatAnswer, ChatVoice
from daemon.bridges.mentions.bluesky import BlueskyNetwork
from daemon.bridges.mentions.json_client import JsonClient
from daemon.bridges.mentions.mastodon import MastodonNetwork
from daemon.bridges.mentions.mention import PendingPost
from daemon.bridges.mentions.mention_bridge import MentionBridge, MentionParts
from daemon.bridges.mentions.mention_rules import fit_names
from daemon.bridges.mentions.network import LoginRefused, MentionNetwork
from daemon.bridges.mentions.oauth1 import OAuth1Keys
from daemon.bridges.mentions.x_network import XNetwork
from daemon.bridges.print_queue import PrintQueue
from daemon.config import Config
from daemon.errors import ConfigError, DaemonError
from daemon.spool.open_spool import find_zone
from daemon.spool.rules import parse_duration
from model.dialogue import Speakers
from model.interface import Model

DEFAULT_PERSONA = "Teletype"
RESTART_S = 60.0  # after a fault of the bridge itself, such as a full disk
MAX_SECRET_BYTES = 4_096

_log = logging.getLogger("asr33")


def find_state_folder() -> Path:
    """Returns the folder of the bridges' files. Raises ConfigError."""
    if (folder := paths.state_folder()) is None:
        raise ConfigError("[mentions] this user has no home to note answers in: set STATE_DIRECTORY")
    return folder


def store_path(folder: Path, network: str) -> Path:
    """Returns the file of what a bridge remembers."""
    return folder / f"mentions-{network}.json"


def open_networks(config: MentionsConfig, folder: Path) -> Iterator[MentionNetwork]:
    """Yields the networks with an account; none is connected yet. Raises ConfigError."""
    if config.mastodon:
        url = config.mastodon if "://" in config.mastodon else f"https://{config.mastodon}"
        client = JsonClient("mastodon", url, config.ca_file)
        yield MastodonNetwork(client, _make_reader("mastodon_token_file", config.mastodon_token_file))
    if config.bluesky:
        client = JsonClient("bluesky", config.bluesky_server, config.ca_file)
        read_password = _make_reader("bluesky_password_file", config.bluesky_password_file)
        yield BlueskyNetwork(client, config.bluesky.lstrip("@"), read_password, folder / "mentions-bluesky.session")
    if config.x:
        client = JsonClient("x", config.x_server, config.ca_file)
        read_lines = _make_reader("x_keys_file", config.x_keys_file, lines=4)
        yield XNetwork(client, lambda: OAuth1Keys(*read_lines().split("\n")))


def choose_voice(config: MentionsConfig, speakers: Speakers) -> ChatVoice:
    """Returns as whom the model answers, with a cue for a model that knows no speakers."""
    persona = (speakers.persona or DEFAULT_PERSONA) if config.persona is None else config.persona.strip()
    cue = f"People write to {persona}, an old Teletype. {persona} answers each of them in one or two short sentences."
    needs_cue = config.cue is None and persona and not speakers.others
    return ChatVoice(persona, cue if needs_cue else config.cue or "")


def parse_daily(text: str) -> TimeOfDay | None:
    """Returns the time of the daily post. Raises ConfigError."""
    if not text:
        return None
    with suppress(ValueError):
        return TimeOfDay.fromisoformat(text)
    raise ConfigError(f'[mentions] daily = {text!r}: write a time such as "08:30"')


def make_parts(
    config: Config,
    model: Model,
    speakers: Speakers,
    seed: int,
    queue: PrintQueue | None = None,
    *,
    is_model_free: Callable[[], bool] = lambda: True,
    note_answer: Callable[[str, PendingPost, ChatAnswer], None] = lambda network, pending, answer: None,
    show_trouble: Callable[[str, str], None] = lambda network, trouble: None,
    is_clock_set: Callable[[], bool] = lambda: True,
) -> MentionParts:
    """Returns what the bridges of all accounts share. Raises ConfigError."""
    chosen = config.mentions
    try:
        keep_s = parse_duration(chosen.keep)
    except ValueError as error:
        raise ConfigError(f"[mentions] keep: {error}") from None
    return MentionParts(
        queue if chosen.paper else None,
        model,
        choose_voice(chosen, speakers),
        config.answer.make_sampling(seed, (), "message", length=chosen.length),
        is_model_free,
        note_answer,
        show_trouble,
        keep_s,
        chosen.poll_s,
        fit_names(chosen.ignore),
        chosen.person_hour,
        parse_daily(chosen.daily),
        chosen.daily_prompt,
        make_marks(chosen, choose_voice(chosen, speakers).persona, speakers),
        find_zone(config.spool.zone),
        is_clock_set,
    )


def make_marks(config: MentionsConfig, persona: str, speakers: Speakers) -> Callable[[str, int, str], str]:
    """Returns what makes the mark of a post: its code, and that the people of the model's texts are only imitated."""
    is_parody = config.parody and persona != DEFAULT_PERSONA and persona in ("", speakers.persona, *speakers.others)

    def make_mark(network: str, seed: int, prompt: str) -> str:
        code = compute_chat_code(network, seed, prompt) if config.receipt else ""
        words = " ".join(filter(None, ("parody" if is_parody else "", code)))
        return f"[{words}]" if words else ""

    return make_mark


async def run_mentions_forever(bridge: MentionBridge) -> None:
    """Runs the bridge of one account; a fault of it is logged, and never stops the daemon."""
    try:
        while True:
            try:
                await bridge.run()
            except (DaemonError, OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as fault:
                reason = _describe(fault)
                _log.error("%s: the bridge stopped, and starts again in a minute: %s", bridge.network.name, reason)
            await asyncio.sleep(RESTART_S)
    finally:
        await bridge.network.close()


def _describe(fault: Exception) -> str:
    """Returns the fault without values: they may be texts of people, or secrets."""
    return str(fault) if isinstance(fault, DaemonError | OSError) else type(fault).__name__


def _make_reader(key: str, path: Path | None, lines: int = 1) -> Callable[[], str]:
    """Returns a function that reads a secret from its file; the file must be there now. Raises ConfigError."""
    if path is None:
        raise ConfigError(f"[mentions] {key}: name the file with the secret of the account")
    _read_secret(key, path, lines)

    def read() -> str:
        try:
            return _read_secret(key, path, lines)
        except ConfigError as error:  # it was there at the start
            raise LoginRefused(str(error)) from None

    return read


def _read_secret(key: str, path: Path, lines: int) -> str:
    try:
        with path.expanduser().open("rb") as file:
            found = file.read(MAX_SECRET_BYTES).decode("ascii").split()
    except OSError as error:
        raise ConfigError(f"[mentions] {key}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        found = []
    if len(found) != lines:
        wanted = "the secret there, on one line" if lines == 1 else f"the {lines} keys there, one a line"
        raise ConfigError(f"[mentions] {key}: {path}: write {wanted}")
    return "\n".join(found)
