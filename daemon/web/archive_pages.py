"""The kept sessions as JSON for the player. It reads logs in a thread, one at a time, so that the paper goes on."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from daemon.archive.session_list import iter_summaries, session_paths
from daemon.archive.session_reader import ArchivedSession, read_session
from daemon.errors import DaemonError
from drivers.paper.glyphs import glyph_table
from drivers.profile import Profile

PAGE_SESSIONS = 100  # of the list, in one answer
MAX_STROKES = 500_000  # of one session: fourteen hours of paper without a pause
_STROKES_PER_PIECE = 1000  # json encodes without a pause for other threads
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,80}")


class ArchivePages:
    """The sessions in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = asyncio.Lock()

    async def list_sessions(self, before: str = "") -> bytes:
        """Returns the summaries older than the session `before`, the newest first, as gzip."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._encode_list, before)

    async def session(self, name: str) -> bytes:
        """Returns one session with its strokes and turns, as gzip. Raises DaemonError if there is none."""
        if not _SESSION_ID.fullmatch(name):
            raise DaemonError("there is no such session")
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._encode_session, name)

    def _encode_list(self, before: str) -> bytes:
        try:
            paths = session_paths(self._folder)
        except OSError as error:
            raise DaemonError(f"the sessions cannot be read: {error.strerror}") from None
        older = (path for path in reversed(paths) if not before or path.stem < before)
        sessions: list[dict[str, Any]] = [
            {
                "id": summary.id,
                "started": summary.started_at.isoformat(timespec="seconds"),
                "seconds": round(summary.duration_s),
                "model": summary.model,
                "line": summary.first_line,
                "code": summary.code,
            }
            for summary in iter_summaries(islice(older, PAGE_SESSIONS))
        ]
        return _gzip([json.dumps({"sessions": sessions, "more": next(older, None) is not None})])

    def _encode_session(self, name: str) -> bytes:
        path = self._folder / f"{name}.jsonl"
        if not path.is_file():
            raise DaemonError("there is no such session")
        return _gzip(_session_pieces(read_session(path)))


def _session_pieces(session: ArchivedSession) -> Iterator[str]:
    strokes = session.strokes[:MAX_STROKES]
    head = {
        "id": session.id,
        "started": session.started_at.isoformat(timespec="seconds"),
        "seconds": round(session.duration_s),
        "model": session.header.model,
        "table": glyph_table(_profile_of(session)),
        "turns": [
            {"code": turn.code, "typed": turn.typed, "stroke": turn.first_stroke}
            for turn in session.turns
            if turn.first_stroke < len(strokes)
        ],
        "gaps": [{"from": gap.from_s, "to": gap.to_s, "why": gap.why} for gap in session.gaps],
        "is_whole": len(strokes) == len(session.strokes),
    }
    yield json.dumps(head)[:-1] + ',"strokes":['
    for start in range(0, len(strokes), _STROKES_PER_PIECE):
        part = [(round(s.at_s * 1000), s.byte, s.column) for s in strokes[start : start + _STROKES_PER_PIECE]]
        yield ("," if start else "") + json.dumps(part, separators=(",", ":"))[1:-1]
    yield "]}"


def _profile_of(session: ArchivedSession) -> Profile:
    """Returns the machine of a session, as far as the log has it and this version knows it."""
    known = {name: value for name, value in session.header.profile.items() if name in Profile.__dataclass_fields__}
    wheel, columns = known.get("wheel"), known.get("columns")
    return Profile(
        wheel="1963" if wheel == "1963" else "1968",
        columns=columns if type(columns) is int and 20 <= columns <= 132 else Profile().columns,
        auto_return=known.get("auto_return") is True,
        return_feeds=known.get("return_feeds") is True,
        feed_returns=known.get("feed_returns") is True,
    )


def _gzip(pieces: Iterator[str] | list[str]) -> bytes:
    packer = zlib.compressobj(6, wbits=31)
    return b"".join([*(packer.compress(piece.encode()) for piece in pieces), packer.flush()])
