"""The progress of a benchmark on standard error: the share done on a terminal, one line per stage elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tools.cli.progress import ProgressLine

REDRAW_S = 1.0  # more frequent drawing would be a load on the machine that is measured


class BenchProgress(Protocol):
    """Gets a description of the work, `stage: detail`, and how many parts of the run have been done since."""

    def __call__(self, what: str, parts: int = 0) -> None: ...


@contextmanager
def show_progress(total_parts: int) -> Iterator[BenchProgress]:
    """Shows the progress of a run, from no part done to `total_parts`."""
    with ProgressLine(prefix="asr33 bench: ", quiet_s=0.0, line_interval_s=None, redraw_s=REDRAW_S) as line:
        stage, done = "", 0

        def on_progress(what: str, parts: int = 0) -> None:
            nonlocal stage, done
            done += parts
            previous, stage = stage, what.partition(":")[0]
            text = f"{what} ({min(1.0, done / max(1, total_parts)):.0%})" if line.is_terminal else f"{stage} ..."
            line.show(text, now=stage != previous)

        yield on_progress
