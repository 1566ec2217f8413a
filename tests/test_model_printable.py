"""Text from elsewhere on a terminal, in the journal and in a message."""

import io
import json
import logging
import os
import pty
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.log_format import PrintableFormatter
from model.printable import escape_controls, quote_briefly
from tools.cli.output import print_message, print_output
from tools.cli.progress import ProgressLine

HOSTILE = "a\x1b[2J\x9b1m\rb\nc\u202ed\u2028e\x7f\ud800"
ESCAPED = "a\\x1b[2J\\u009b1m\\rb\\nc\\u202ed\\u2028e\\u007f\\ud800"


def test_characters_that_act_on_a_terminal_are_written_as_escapes() -> None:
    assert escape_controls(HOSTILE) == ESCAPED
    kept = "“Grüße”, naïve\u00a0café 👩\u200d🚀 می\u200cخواهم so\u00adft 日本"
    assert escape_controls(kept) == kept


@given(st.text(st.characters()), st.integers(0, 50))
def test_any_text_is_safe_and_may_be_escaped_in_pieces(text: str, cut: int) -> None:
    shown = escape_controls(text)
    assert escape_controls(text[:cut]) + escape_controls(text[cut:]) == shown == escape_controls(shown)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs")]
    assert not [char for char in shown if unicodedata.bidirectional(char) in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI"}]
    assert json.loads(escape_controls(json.dumps(text, ensure_ascii=False))) == text


@given(st.text(st.characters(), max_size=2000))
def test_a_quotation_is_short_and_on_one_line(text: str) -> None:
    assert len(quote_briefly(text)) <= 100
    assert quote_briefly(text).isprintable() or not text.isprintable()
    assert "\n" not in quote_briefly(text)


def test_a_log_line_is_one_line_and_a_traceback_keeps_its_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("the server says %s", HOSTILE)
    assert stream.getvalue() == f"the server says {ESCAPED}\n"
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        logger.exception("failed\n")
    assert stream.getvalue().splitlines()[1] == "failed\\n"
    assert stream.getvalue().splitlines()[-1] == "ValueError: \\x1b[2J"


def test_messages_and_progress_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_message(f"asr33: {HOSTILE}")
    with ProgressLine() as line:
        line.show(HOSTILE, now=True)
    assert capsys.readouterr().err == f"asr33: {ESCAPED}\nasr33: {ESCAPED}\n"


def test_output_is_escaped_on_a_terminal_and_unchanged_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "a\x1b[2J\tb\u202e\n"
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print_output(text)
    assert (tmp_path / "file").read_text() == text
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        print_output(text)
        assert os.read(ours, 1000) == b"a\\x1b[2J\tb\\u202e\r\n"
    os.close(ours)


# These write what is asr33's own: the paper's glyphs, a profile, a version; the bench starts programs of its own.
WRITE_THEMSELVES = {"tools/main.py", "tools/demo.py", "tools/calibrate/command.py", "tools/cli/output.py"}
BORDER = {"model/log_format.py", "model/server/http/log_handler.py"}


def test_no_other_module_writes_to_a_terminal() -> None:
    root = Path(__file__).resolve().parents[1]
    writing = re.compile(r"basicConfig\(|sys\.std(?:out|err)\.write\((?!escape_controls)|(?<!def )(?<![\w.])print\(")
    files = [
        path.relative_to(root)
        for name in ("daemon", "drivers", "model", "tools")
        for path in (root / name).rglob("*.py")
    ]
    found = {str(path) for path in files if writing.search((root / path).read_text())}
    assert {path for path in found if not path.startswith("tools/bench/")} <= WRITE_THEMSELVES | BORDER
