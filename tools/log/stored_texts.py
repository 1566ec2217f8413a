"""Forgets what is not in the logs: waiting jobs, saved conversations, and what the bridges remember.

A running daemon forgets in its own files; the others are written anew here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon import paths
from daemon.bridges.mentions.mention_state import MentionStore
from daemon.control.client import connect_to_all_daemons
from daemon.control.forget_messages import ForgetTexts, TextsForgotten
from daemon.errors import DaemonError
from daemon.people import ForgetScope
from daemon.saved_conversations import SavedConversations
from daemon.spool.state import SpoolState
from daemon.spool.store import SpoolStore
from tools.log.log_folder import SYSTEM_FOLDER

SYSTEM_STATE = Path("/var/lib/asr33")  # of the daemons that systemd runs
Texts = Sequence[tuple[str, str]]  # typed lines and answers


def find_state_of(log_folder: Path) -> Path | None:
    """Returns the folder of what the daemons that write these logs keep."""
    return SYSTEM_STATE if log_folder == SYSTEM_FOLDER else paths.state_folder()


def count_stored(state: Path | None, scope: ForgetScope, texts: Texts) -> list[str]:
    """Returns what would be forgotten, such as "2 waiting jobs"; changes nothing. Raises OSError, DaemonError."""
    if state is None:
        return []
    jobs = sum(_forget_in_spool(path, scope, writes=False) for path in _spools(state))
    mentions = sum(MentionStore(path).read().forget(scope) for path in _mention_files(state))
    saved = SavedConversations(state / "conversations").forget(scope, texts, writes=False)
    counts = (jobs, "waiting job"), (mentions, "answer that is due"), (saved, "saved conversation")
    return [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]


def forget_stored(state: Path | None, scope: ForgetScope, texts: Texts) -> None:
    """Forgets it. Raises DaemonError, OSError."""
    done = asyncio.run(_forget_in_daemons(scope)) if not scope.is_empty else set()
    if state is None or not state.is_dir():
        return
    _remove_half_written(state)
    for path in [] if scope.is_empty else [one for one in _spools(state) if one not in done]:
        if SpoolStore(path).is_held():
            raise DaemonError(f"the daemon of {path} does not answer: end it, and say the same again", "busy")
        _forget_in_spool(path, scope, writes=True)
    for path in [] if scope.is_empty else [one for one in _mention_files(state) if one not in done]:
        store = MentionStore(path)
        kept = store.read()
        kept.forget(scope)
        store.write(kept)
    SavedConversations(state / "conversations").forget(scope, texts, writes=True)


async def _forget_in_daemons(scope: ForgetScope) -> set[Path]:
    """Returns the files that running daemons have written anew. Raises DaemonRefused."""
    files: set[Path] = set()
    async with connect_to_all_daemons() as daemons:
        for daemon in daemons:
            reply = await daemon.request(ForgetTexts(scope.person, scope.before), TextsForgotten)
            files |= {Path(file) for file in reply.files}
    return files


def _forget_in_spool(path: Path, scope: ForgetScope, *, writes: bool) -> int:
    """Returns the number of jobs that are forgotten in the file of a spool that no daemon has."""
    store, state = SpoolStore(path), SpoolState()
    for record in store.read(keeps_damaged=writes):
        try:
            state.apply(record, is_of_this_run=False)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if writes:
                store.keep_damaged(f"a record that does not fit the others ({error!r})")
            break
    count = state.forget(scope)
    if writes:
        store.replace(state.snapshot())
        store.remove_copies(scope)
        store.close()
    return count


def _spools(state: Path) -> list[Path]:
    return sorted(state.glob("*.spool"))


def _mention_files(state: Path) -> list[Path]:
    return sorted(state.glob("mentions-*.json"))


def _remove_half_written(state: Path) -> None:
    """Removes the new files that killed processes have left unfinished."""
    for path in _find_half_written(state):
        path.unlink(missing_ok=True)


def _find_half_written(state: Path) -> Iterator[Path]:
    for folder in (state, state / "conversations"):
        for path in folder.glob(".*.*"):
            process = path.suffix.removeprefix(".")
            if path.is_file() and process.isdecimal() and not _is_running(int(process)):
                yield path


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
