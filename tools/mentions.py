"""Shows the accounts of [mentions], and what would be answered.

asr33 mentions
asr33 mentions --dry-run

The running daemon answers the mentions. --dry-run reads them too, sends nothing, and leaves them to the daemon.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import config
from daemon.config import Config
from daemon.errors import ConfigError
from model.log_format import log_to_stderr
from tools.cli.arguments import add_config_argument
from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.cli.signals import run_until_interrupted

if TYPE_CHECKING:
    from daemon.bridges.mentions.mention_state import MentionStatus
    from daemon.bridges.mentions.network import MentionNetwork
    from daemon.bridges.mentions.preview import PreviewedPost
    from model.interface import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dry_help = "read the mentions and show the answers, and send nothing (default: show the accounts)"
    parser.add_argument("--dry-run", action="store_true", help=dry_help)
    add_config_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ConfigError, DaemonError, ModelError."""
    from daemon.bridges.mentions.open_mentions import find_state_folder, open_networks

    log_to_stderr(logging.WARNING)
    chosen = config.load_config({}, config_file=args.config)
    if not chosen.mentions.has_accounts:
        raise ConfigError("[mentions] has no account: name one in mastodon, bluesky or x")
    folder = find_state_folder()
    networks = list(open_networks(chosen.mentions, folder))
    if args.dry_run:
        return run_until_interrupted(_preview_all(chosen, networks, folder))
    for network in networks:
        _print_status(network.name, folder)
    return 0


def _print_status(name: str, folder: Path) -> None:
    from daemon.bridges.mentions.mention_state import MentionStore
    from daemon.bridges.mentions.open_mentions import store_path

    state = MentionStore(store_path(folder, name)).read()
    if state.last_id is None and not state.status.trouble:
        print_output(f"{name}: no daemon has read it yet\n")
        return
    print_output("".join(f"{line}\n" for line in format_account(name, state.status, len(state.pending))))


def format_account(name: str, status: MentionStatus, pending: int) -> Iterator[str]:
    """Yields the lines about an account."""
    counts = f"{status.answered} posts, {pending} due, {status.dropped} left out"
    yield f"{name}: {status.account or 'not logged in yet'}, {status.limit} characters a post, {counts}"
    if status.trouble:
        yield f"  trouble: {status.trouble}"
    if status.is_marked is False:
        yield "  it is not marked as an automated account: mark it in the account's settings"
    if status.requests:
        yield f"  {status.requests} people wait in its notification requests: accept them there, and they are answered"


async def _preview_all(chosen: Config, networks: list[MentionNetwork], folder: Path) -> None:
    """Raises ToolError if a network does not answer, after the others."""
    from daemon.bridges.mentions.network import NetworkTrouble
    from daemon.model_factory import open_model

    model, troubles = open_model(chosen), []
    try:
        for network in networks:
            try:
                await _preview(chosen, network, folder, model)
            except NetworkTrouble as trouble:
                troubles.append(str(trouble))
            finally:
                await network.close()
    finally:
        await model.close()
    if troubles:
        raise ToolError("; ".join(troubles), "unavailable")


async def _preview(chosen: Config, network: MentionNetwork, folder: Path, model: Model) -> None:
    from daemon.bridges.mentions.mention_bridge import MentionBridge
    from daemon.bridges.mentions.open_mentions import make_parts, store_path
    from daemon.bridges.mentions.preview import ReadOnlyStore, preview_posts
    from daemon.model_factory import load_conversation

    parts = make_parts(chosen, model, load_conversation(chosen).speakers, chosen.answer.seed or 0)
    bridge = MentionBridge(network, ReadOnlyStore(store_path(folder, network.name)), parts)
    count = 0
    async for post in preview_posts(bridge):
        count += 1
        print_output(format_preview(network.name, post))
    if not count:
        print_message(f"asr33: {network.name}: nothing to answer")


def format_preview(network: str, post: PreviewedPost) -> str:
    """Returns the lines about a mention and its answer."""
    who = "daily post" if post.mention is None else f"{post.mention.author} ({post.mention.visibility})"
    said = "" if post.mention is None else f": {post.mention.text}"
    return f"{network}: {who}{said}\n  {post.decision}{f': {post.text}' if post.text else ''}\n"
