"""The table printer of all commands: columns with blanks between them, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def format_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), gap: int = 2
) -> Iterator[str]:
    """Yields the heading and a line for each row. Columns numbered in `left` are left-aligned, others right-aligned.

    A negative number counts from the last column. Nothing is cut or folded; no line ends in blanks.
    """
    table = [columns, *rows] if any(columns) else list(rows)
    at_left = {number % len(columns) for number in left} if columns else set()
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.ljust(width) if number in at_left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield (" " * gap).join(cells).rstrip()
