"""The formats of `asr33 log export`: the suffix of each, and the function that makes its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from drivers import tape
from drivers.paper.paper import CR, LF, RUBOUT
from drivers.profile import Parity
from drivers.text.charset import apply_parity
from tools.log.formats.asciicast import encode_asciicast
from tools.log.formats.html_page import encode_html
from tools.log.formats.svg import encode_svg
from tools.log.recording import SheetRecording, visible_lines

LEADER_ROWS = 120  # a foot of blank tape before and after
_RETURNS = (CR, LF)
_FILLS = 2  # RUBOUTs after a return: the carriage needs their time - Bulletin 310B 574-100-101TC 3.12


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """`encode` returns the files of a recording: one, or a PNG for each picture. `is_text`: a terminal can show it."""

    suffix: str
    encode: Callable[[SheetRecording], Sequence[bytes]]
    is_text: bool = False


def encode_text(recording: SheetRecording) -> bytes:
    """Returns the sheet as lines of text, without overstrike."""
    return ("\n".join(visible_lines(recording)).rstrip("\n") + "\n").encode()


def encode_tape(recording: SheetRecording) -> bytes:
    """Returns the rows of a paper tape that prints the sheet again: leader, strokes with parity, RUBOUTs, trailer."""
    parity = recording.profile.send_parity
    return tape.leader(LEADER_ROWS) + bytes(_tape_rows(recording, parity)) + tape.leader(LEADER_ROWS)


def _tape_rows(recording: SheetRecording, parity: Parity) -> Iterator[int]:
    codes = [stroke.byte for stroke in recording.strokes]
    for code, following in zip(codes, [*codes[1:], 0], strict=True):
        yield apply_parity(code, parity)
        if code in _RETURNS and following not in _RETURNS:
            yield from [apply_parity(RUBOUT, parity)] * _FILLS


def _encode_png(recording: SheetRecording) -> list[bytes]:
    from drivers.paper.paper_png import draw_pages

    paper = recording.paper()
    return list(draw_pages(paper.lines, columns=paper.columns, wheel=recording.profile.wheel))


def _single(encode: Callable[[SheetRecording], bytes]) -> Callable[[SheetRecording], Sequence[bytes]]:
    return lambda recording: [encode(recording)]


FORMATS = {
    "asciicast": ExportFormat(".cast", _single(encode_asciicast), is_text=True),
    "text": ExportFormat(".txt", _single(encode_text), is_text=True),
    "html": ExportFormat(".html", _single(encode_html), is_text=True),
    "svg": ExportFormat(".svg", _single(encode_svg), is_text=True),
    "png": ExportFormat(".png", _encode_png),
    "tape": ExportFormat(".tape", _single(encode_tape)),
}
