"""What the bridge remembers of one account: the last mention, the posts that are due, whom it told what.

One file of JSON, replaced as a whole and synced before anything is sent. A process that is killed between an answer and
its record finds the answer here, with the key by which the network knows it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.bridges.mentions.mention import PendingPost, decode_pending, encode_pending
from daemon.bridges.mentions.mention_rules import PeopleMemory, is_author
from daemon.errors import DaemonError
from daemon.people import ForgetScope
from model.store.atomic_file import fsync_path, replace_atomically

VERSION = 1
MAX_HANDLED = 1_000  # mentions whose numbers are remembered
MAX_STATE_BYTES = 16 << 20

_log = logging.getLogger("asr33")


@dataclass(slots=True)
class MentionStatus:
    """What `asr33 mentions` shows. `trouble` is one line, or "" while the network answers."""

    account: str = ""
    limit: int = 0
    is_marked: bool | None = None
    requests: int = 0
    trouble: str = ""
    answered: int = 0
    dropped: int = 0


@dataclass(slots=True)
class MentionState:
    """`last_id` is None before the first run: what was said earlier is not answered."""

    last_id: str | None = None
    pending: list[PendingPost] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)
    people: PeopleMemory = field(default_factory=PeopleMemory)
    last_daily: str = ""
    status: MentionStatus = field(default_factory=MentionStatus)

    def note_handled(self, mention_id: str) -> None:
        self.handled = [*self.handled, mention_id][-MAX_HANDLED:]

    def forget(self, scope: ForgetScope) -> int:
        """Removes a person's names and texts; returns the number of answers that are not sent then.

        The numbers of messages stay, so that none is answered twice. An answer that is due has no date.
        """

        def is_forgotten(pending: PendingPost) -> bool:
            mention = pending.mention
            by_them = mention is not None and (is_author(scope, mention.author) or scope.has_text(mention.text))
            return by_them or scope.has_text(pending.text)

        kept = [pending for pending in self.pending if not is_forgotten(pending)]
        count, self.pending = len(self.pending) - len(kept), kept
        self.people.forget(scope)
        return count


class MentionStore:
    """The file of one account, in the folder of its user alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> MentionState:
        """Returns the state; that of a first run if there is no file. Raises DaemonError for a damaged one."""
        try:
            with self.path.open("rb") as file:
                return _decode_state(json.loads(file.read(MAX_STATE_BYTES)))
        except FileNotFoundError:
            return MentionState()
        except OSError as error:
            raise DaemonError(f"{self.path}: {error.strerror}", "create") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            cure = "move it away, and only mentions from now on are answered"
            raise DaemonError(f"{self.path}: not the file of a bridge: {cure}", "config") from None

    def write(self, state: MentionState) -> None:
        """Returns when the disk has it. Raises OSError."""
        write_private(self.path, json.dumps(_encode_state(state), ensure_ascii=False).encode("utf-8", "replace"))


def write_private(path: Path, data: bytes) -> None:
    """Replaces a file that only its user may read; returns when the disk has it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(data)
    fsync_path(path.parent)


def _encode_state(state: MentionState) -> dict[str, Any]:
    status = state.status
    return {
        "version": VERSION,
        "last_id": state.last_id,
        "pending": [encode_pending(pending) for pending in state.pending],
        "handled": state.handled,
        "told": state.people.told,
        "answered": state.people.answered,
        "last_daily": state.last_daily,
        "status": {name: getattr(status, name) for name in MentionStatus.__slots__},
    }


def _decode_state(record: Mapping[str, Any]) -> MentionState:
    return MentionState(
        record["last_id"],
        [decode_pending(pending) for pending in record["pending"]],
        [str(one) for one in record["handled"]],
        PeopleMemory([str(one) for one in record["told"]], [(str(who), float(at)) for who, at in record["answered"]]),
        str(record["last_daily"]),
        MentionStatus(**record["status"]),
    )
