"""Tables that strangers have: every file of shared/cases, and others of each kind, with the exact texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.corpus import add, storage
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.progress import ImportProgress

CASES = Path(__file__).resolve().parents[1] / "../shared/cases/corpora"
MORNING = ["Good morning, all.", "No commas here!"]
ROWED = "We rowed and rowed all day long until the sun went down over the bay."


@pytest.fixture(autouse=True)
def _corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))


def kept_texts(path: Path, kind: str = "", column: str = "") -> list[str]:
    """Returns the texts of a corpus after cleaning."""
    with ImportProgress() as progress:
        add.add_paths("x", [path], kind, CleaningOptions(), progress, column=column)
    return [record.text for record in storage.open_kept_records("x")]


def table_texts(tmp_path: Path, content: str | bytes, name: str = "table.csv", column: str = "") -> list[str]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return kept_texts(path, column=column)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases of the issue are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("csv/body_header.csv", MORNING),
        ("csv/content_date.csv", MORNING),
        ("csv/kaggle_content.csv", MORNING),
        ("csv/kaggle_renamed.csv", MORNING),
        ("csv/message_header.csv", MORNING),
        ("csv/snscrape_tut.csv", MORNING),
        ("csv/text_label.csv", [*MORNING, 'She said "no", twice.']),
        ("csv/trailing_comma.csv", [*MORNING, 'She said "no", twice.']),
        ("misc/got_broken_link.csv", ["“Pump news”", "Rowed."]),
        (
            "misc/link_over_280.csv",
            [f"{ROWED} {ROWED} {ROWED}\n\nThen we had tea and went to bed early. The pump is fine.", "Tea."],
        ),
        ("misc/semicolon_in_text.csv", ['"Rowed"; then tea', "Rowed."]),
        ("misc/whole_row_quoted.csv", ["Rowed all day.", "Tea; then bed."]),
        ("p2/01_ts247.csv", ["If the pump stops again,\nI shall row.\n@odo_b", 'Rowed; it was "fine".']),
        ("p2/02_plus2_brackets.csv", ["Rowed all the way home.", "It's the pump again", "Tea, then bed."]),
        ("p2/03_twint68.csv", ["Rowed, and it was fine.", "Tea | then bed."]),
        ("p2/04_sns91.jsonl", ["Rowed, and\nit was fine.", "Tea, then bed."]),
        ("p2/11_parts", ["Rowed all day.", "Tea, then bed."]),
        ("p2/11b_2018", ["Rowed all day."]),
        ("p2/14_joke.csv", ["What did the pump say? Nothing, it was stuck.", "Don't row, they're asleep."]),
        ("p2/14b_line.csv", ["some plain text one", "some plain text two"]),
        ("p2/15_bom.csv", ["Rowed, all day.", "Tea."]),
        ("p2/15b_bom1.csv", ["Rowed, all day.", "Tea."]),
        ("p2/16_nul", ["Rowed all day \ufffd boat \U0001f6a3"]),
    ],
)
def test_a_case_gives_exactly_its_texts(name: str, texts: list[str]) -> None:
    assert kept_texts(CASES / name) == texts


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases of the issue are not beside this checkout")
def test_a_list_with_semicolons_keeps_each_line() -> None:
    texts = kept_texts(CASES / "misc/semicolons_no_commas.csv")
    assert (len(texts), texts[0]) == (400, "Day 0: we rowed; then tea.")
