"""Tables with odd separators, quotes and names, lists of names, small tables, cells with markup: the exact texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_items import make_folder
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.errors import ToolError
from tools.corpus import add, storage
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.csv_rows import CsvFormat
from tools.corpus.csv_separators import COLUMN_GAP, SEPARATOR_CHAR, decode_cells, encode_line
from tools.corpus.progress import ImportProgress


@pytest.fixture(autouse=True)
def _corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))


def kept_texts(tmp_path: Path, content: str, name: str = "table.csv", column: str = "", kind: str = "") -> list[str]:
    """Returns the texts of a corpus with one file, after cleaning."""
    path = make_folder(tmp_path / "files", {name: content}) / name
    with ImportProgress() as progress:
        add.add_paths("x", [path], kind, CleaningOptions(), progress, column=column)
    return [record.text for record in storage.open_kept_records("x")]


def lines_of(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


ROWED = "Rowed home, then tea."
BED = "Tea, then bed."
UP = "Up at six, alas."


@pytest.mark.parametrize(
    "separator", ["~", "^", "\x01", "\x1f", "¦", ":::", "|~|", " +++$+++ ", "#$#", "::", "^|^", "§"]
)
def test_odd_separators_with_names_are_read(tmp_path: Path, separator: str) -> None:
    rows = [("id", "text", "user"), ("1", ROWED, "odo"), ("2", BED, "odo")]
    assert kept_texts(tmp_path, lines_of(*map(separator.join, rows))) == [ROWED, BED]


def test_columns_of_fixed_width_are_read(tmp_path: Path) -> None:
    rows = [("id", "text", "user"), ("1", ROWED, "odo"), ("22", BED, "mara")]
    content = lines_of(*(f"{number:<5}{text:<30}{user:<5}" for number, text, user in rows))
    assert kept_texts(tmp_path, content) == [ROWED, BED]


@pytest.mark.parametrize("separator", [" +++$+++ ", "~", "||~||"])
def test_odd_separators_without_names_are_read(tmp_path: Path, separator: str) -> None:
    rows = [(f"L{at}", f"u{at}", "BIANCA", text) for at, text in enumerate((ROWED, BED, UP))]
    assert kept_texts(tmp_path, lines_of(*map(separator.join, rows))) == [ROWED, BED, UP]


@pytest.mark.parametrize(
    "texts",
    [
        ["Rowed -- and home.", "Tea -- then bed."],
        ["**Rowed** home.", "**Tea** and bed."],
        ["Rowed... home", "Tea... and bed"],
        ["Rowed home :-) at six", "Tea :-) then bed"],
        ["Rowed home.  Then tea.", "Tea.  Then bed."],
        ["Up ~~late~~ early.", "The ~~old~~ pump."],
        ["Rowed & tea", "Tea & bed"],
        ["5 > 4, as ever", "4 > 3, I say"],
    ],
)
def test_marks_of_texts_are_no_separators(tmp_path: Path, texts: list[str]) -> None:
    path = make_folder(tmp_path / "files", {"table.csv": lines_of(*texts)}) / "table.csv"
    with ImportProgress() as progress:
        add.add_paths("x", [path], "", CleaningOptions(), progress)
    assert [record.text for record in storage.open_records("x")] == texts


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text,date\n'He said, stop',2020-01-01\n'Rowed, then tea',2020-01-02\n", ["He said, stop", "Rowed, then tea"]),
        ("id,'text','user'\n1,'He said, stop','odo'\n2,'It''s tea','odo'\n", ["He said, stop", "It's tea"]),
        ("id;text\n1;'He said; stop'\n2;Tea at noon\n", ["He said; stop", "Tea at noon"]),
        ("1,'He said \"no\", twice.',2020-01-01\n2,'Rowed, so.',2020-01-02\n", ['He said "no", twice.', "Rowed, so."]),
        ("id,text\n1,'tis tea\n2,odo' boat is here\n", ["'tis tea", "odo' boat is here"]),
    ],
)
def test_single_quotes_are_around_cells(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert kept_texts(tmp_path, content) == texts


def test_single_quotes_in_a_named_column(tmp_path: Path) -> None:
    content = "id,'text','user'\n1,'He said, stop','odo'\n"
    assert kept_texts(tmp_path, content, column="2") == ["He said, stop"]


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_blanks_in_the_header_alone(tmp_path: Path, rows: int) -> None:
    texts = [f"In his life, Galileo was under arrest {at}" for at in range(rows)]
    content = lines_of("Id, Question, Answer", *(f'{at},"{text}",Copernicus' for at, text in enumerate(texts)))
    assert kept_texts(tmp_path, content) == texts


A_PICTURE = "A picture of a boat number {} on the sea at night"


@pytest.mark.parametrize(
    ("header", "number", "rows"),
    [
        ("text,description", 0, [("Rowed.", A_PICTURE), ("Tea.", A_PICTURE)]),
        ("text,description", 0, [(f"Wow{at}", A_PICTURE) for at in range(60)]),
        ("id,comment,title", 1, [(str(at), word, A_PICTURE) for at, word in enumerate(["Nice", "Wow", "Fine"] * 20)]),
        ("username,description,tweet", 2, [("mara", "I row boats", "Rowed."), ("odo", "Nothing to say", "Tea.")]),
        ("review,product", 0, [("Great!", A_PICTURE), ("Bad.", A_PICTURE)]),
        ("caption,alt", 0, [("Tea", A_PICTURE), ("Bed", A_PICTURE)]),
        ("product,My Review", 1, [(A_PICTURE, "Great!"), (A_PICTURE, "Bad.")]),
        ("raw_text,spoken_words", 1, [("Lisa: Well, no.", "Well, no."), ("Bart: Oh, yes it is.", "Oh, yes it is.")]),
        ("text,text", 0, [(ROWED, "x"), (BED, "y")]),
    ],
)
def test_a_known_name_wins_over_longer_neighbours(
    tmp_path: Path, header: str, number: int, rows: list[tuple[str, ...]]
) -> None:
    lines = [",".join(f'"{cell}"'.format(at) for cell in row) for at, row in enumerate(rows)]
    assert set(kept_texts(tmp_path, lines_of(header, *lines))) == {row[number] for row in rows}


def test_a_category_is_not_chosen_by_its_name(tmp_path: Path) -> None:
    lines = [f"{kind},A fine old car number {at} with a pump" for at, kind in enumerate(["sedan", "van"] * 5)]
    with pytest.raises(ToolError, match="several columns of texts"):
        kept_texts(tmp_path, lines_of("body,description", *lines))


def test_json_in_a_cell_without_a_header(tmp_path: Path) -> None:
    assert kept_texts(tmp_path, '{"a":1},Rowed home all day.\n{"a":2},"Tea, then bed."\n') == [
        "Rowed home all day.",
        "Tea, then bed.",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ["subreddit", "boats", "pumps"],
        ["name", "Odo Brink", "Mara Quist", "Lys"],
        ["email", "odo@example.com", "mara@example.com"],
        ["Odo Brink", "Mara Quist", "J. K. Lys"],
        ["odo@example.com", "mara@example.com"],
        ["@odo_b", "@mara_q", "@lys"],
        ["statistic,value", "account name,mara"],
        ["username", "mara_q", "odo.b"],
    ],
)
def test_lists_of_names_are_refused_with_a_cure_that_works(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(ToolError) as caught:
        kept_texts(tmp_path, lines_of(*lines))
    message = str(caught.value)
    assert "without a column of texts" in message
    column = "1" if "--column 1" in message else lines[0].split(",")[0]
    assert kept_texts(tmp_path, lines_of(*lines), column=column)[-1].startswith(lines[-1].split(",")[0])


@pytest.mark.parametrize("header", ["My posts", "0", "All tweets", "status_update"])
def test_headers_of_a_list_are_no_texts(tmp_path: Path, header: str) -> None:
    assert kept_texts(tmp_path, lines_of(header, "The pump was stuck.", "Tea then bed.")) == [
        "The pump was stuck.",
        "Tea then bed.",
    ]


def test_the_first_row_is_a_header_if_the_user_names_it(tmp_path: Path) -> None:
    content = '"Statement, edited"\n"The pump was stuck."\n"Tea, then bed."\n'
    assert kept_texts(tmp_path, content, column="Statement, edited") == ["The pump was stuck.", BED]


def test_pandas_numbers_columns_after_an_index(tmp_path: Path) -> None:
    content = "Unnamed: 0,0,1\n0,odo,The pump was stuck since Monday.\n1,mara,Tea then bed.\n"
    assert kept_texts(tmp_path, content) == ["The pump was stuck since Monday.", "Tea then bed."]


@given(st.text(st.sampled_from("ab \"'~:")), st.sampled_from(["", ":::", "~~~"]), st.booleans())
def test_an_encoded_line_can_be_decoded(line: str, separator: str, has_single_quotes: bool) -> None:
    format = CsvFormat(SEPARATOR_CHAR, separator=separator, has_single_quotes=has_single_quotes)
    assert decode_cells([encode_line(line, format)], format) == [line]


def test_two_blanks_are_between_columns() -> None:
    assert encode_line("1   Rowed home.    odo  ", CsvFormat(separator=COLUMN_GAP)) == "\x1f".join(
        ("1", "Rowed home.", "odo")
    )
