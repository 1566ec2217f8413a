"""What a long run shows of itself on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tools.cli.output import print_message


class BenchProgress(Protocol):
    """Hears what is being done, and how many of the parts of the whole run are done with it."""

    def __call__(self, what: str, parts: int = 0) -> None: ...


@contextmanager
def show_progress(total_parts: int) -> Iterator[BenchProgress]:
    """`whole` is how many parts there are; elsewhere than on a terminal only a new kind of work is told."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _ProgressLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(None), TimeElapsedColumn())
    console = Console(stderr=True)
    # Once a second: what is drawn more often is a load on what is measured.
    with Progress(*columns, console=console, transient=True, expand=True, refresh_per_second=1) as bar:
        task = bar.add_task("", total=total_parts)

        def tell(what: str, parts: int = 0) -> None:
            bar.update(task, advance=parts, description=what)

        yield tell


class _ProgressLines:
    def __init__(self) -> None:
        self._last = ""

    def __call__(self, what: str, parts: int = 0) -> None:
        kind = what.partition(":")[0]
        if kind != self._last:
            self._last = kind
            print_message(f"asr33 bench: {kind} ...")
