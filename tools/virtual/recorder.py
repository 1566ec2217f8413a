"""Records the work of a virtual machine in files: strikes, punched rows, and at the end the sheet."""

from __future__ import annotations

import contextlib
import json
import mimetypes
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from drivers.paper.paper import Paper
from drivers.profile import TypeWheel
from drivers.virtual import Strike
from tools.cli.errors import ToolError
from tools.cli.output import check_writable, write_atomic, write_error
from tools.paper_view.stream import PaperView


class AppendFile:
    """A growing file that a reader can follow: each write reaches the file at once. A write error closes it."""

    def __init__(self, path: Path, mode: Literal["wb", "ab"], contents: str, on_error: Callable[[str], None]) -> None:
        """`contents` names the data in the message that `on_error` gets. Raises ToolError."""
        self._path, self._contents, self._on_error = path, contents, on_error
        try:
            self._file = path.open(mode, buffering=0)
        except OSError as error:
            raise write_error(path, error) from None

    def write(self, data: bytes) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self.close()
            message = f"no more {self._contents} are written to {self._path} ({error.strerror}); the paper goes on"
            self._on_error(message)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class VirtualRecorder:
    """Passes each strike to the view and to the files that are set."""

    def __init__(self) -> None:
        self.view: PaperView | None = None
        self.strike_file: AppendFile | None = None
        self.row_file: AppendFile | None = None
        self.tape = bytearray()  # the tape of the machine's punch, which grows
        self._recorded_rows = 0

    def on_strike(self, strike: Strike) -> None:
        if self.strike_file is not None:
            self.strike_file.write(json.dumps(asdict(strike)).encode() + b"\n")
        self.record_rows()
        if self.view is not None:
            self.view.show_strike(strike)

    def record_rows(self) -> None:
        """Appends the rows that were punched since the last call."""
        if self.row_file is not None and (rows := bytes(self.tape[self._recorded_rows :])):
            self.row_file.write(rows)
            self._recorded_rows += len(rows)


def paper_saver(path: Path) -> Callable[[Paper, TypeWheel], None]:
    """Returns a function that writes the sheet: text to the path, or PNGs to NAME.png, NAME-2.png, NAME-3.png.

    The path is checked at once, before the session. The function raises ToolError; this call raises
    ToolError, and ModuleNotFoundError if Pillow is missing.
    """

    def save_text(paper: Paper, wheel: TypeWheel) -> None:
        write_atomic(path, (paper.text(wheel) + "\n").encode())

    def save_png(paper: Paper, wheel: TypeWheel) -> None:
        for number, page in enumerate(draw_pages(paper.lines, columns=paper.columns, wheel=wheel), 1):
            write_atomic(path if number == 1 else path.with_stem(f"{path.stem}-{number}"), page)

    is_png = path.suffix.lower() == ".png"
    if is_png:
        from drivers.paper.paper_png import draw_pages
    elif (mimetypes.guess_type(path.name)[0] or "").startswith(("image/", "application/pdf")):
        name = path.with_suffix(".png").name
        raise ToolError(f"{path}: the sheet is saved as text or as a PNG: name it {name}", "usage")
    check_writable(path)
    return save_png if is_png else save_text
