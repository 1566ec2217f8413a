"""The sheet that `--paper` keeps: its text, or a picture of it, by the file's name.

Nothing stands there before the end, and then all of it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable
from pathlib import Path

from drivers.paper.paper import Paper
from drivers.profile import TypeWheel
from tools.cli.output import check_writable, write_atomic
from tools.virtual_options import BadFitting


def paper_saver(path: Path) -> Callable[[Paper, TypeWheel], None]:
    """How the sheet is kept at the end, which raises OutputLost. What stands against it is said now.

    Raises OutputLost, BadFitting, ModuleNotFoundError.
    """
    contents: Callable[[Paper, TypeWheel], Iterable[bytes]] = _text_pages
    if path.suffix.lower() == ".png":
        from drivers.paper.paper_png import draw_pages

        def drawn(paper: Paper, wheel: TypeWheel) -> Iterable[bytes]:
            return draw_pages(paper.lines, columns=paper.columns, wheel=wheel)

        contents = drawn
    elif _is_image_name(path):
        raise BadFitting(f"{path}: the sheet is kept as text or as a PNG: name it {path.with_suffix('.png').name}")
    check_writable(path)
    return lambda paper, wheel: _save_pages(path, contents(paper, wheel))


def _is_image_name(path: Path) -> bool:
    kind, _ = mimetypes.guess_type(path.name)
    return kind is not None and (kind.startswith("image/") or kind == "application/pdf")


def _save_pages(path: Path, sheets: Iterable[bytes]) -> None:
    """A sheet too long for one picture goes on in sheet-2.png."""
    for number, data in enumerate(sheets, 1):
        write_atomic(path if number == 1 else path.with_stem(f"{path.stem}-{number}"), data)


def _text_pages(paper: Paper, wheel: TypeWheel) -> Iterable[bytes]:
    return [(paper.text(wheel) + "\n").encode()]
