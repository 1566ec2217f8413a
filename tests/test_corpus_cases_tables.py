"""Tables that strangers have: every file of shared/cases, and others of each kind, with the exact texts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from corpus_items import damaged_of, members_of, texts_of, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.errors import ToolError
from tools.corpus import add, storage
from tools.corpus.archive import Member
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.importers import table, tweets
from tools.corpus.progress import ImportProgress
from tools.corpus.report import build_report

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
    warnings = build_report("x").warnings
    assert "not one comma in 400 texts: the export dropped them; export again" in warnings


TEXTS = ["Rowed all day, and it was fine.", "Tea, then bed.", "The pump stuck again.", "More tea; and bed."]


def make_csv(header: str, *rows: object, delimiter: str = ",") -> str:
    """Returns a table; each row is a tuple, or a text between a number and a date."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    if header:
        writer.writerow(header.split(","))
    writer.writerows(row if isinstance(row, tuple) else (at, row, "2018-01-01") for at, row in enumerate(rows))
    return out.getvalue()


def unquoted(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


NUMBERED = [f"{number},{text}" for number, text in enumerate(("Rowed.", "Tea.", "Bed, then."), start=1)]
QUESTIONS = make_csv("question,answer", ("What did the pump say?", "Nothing at all."), ("Did we row?", "Yes, all day."))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        pytest.param(make_csv("", *TEXTS), TEXTS, id="no header"),
        pytest.param('1,"Rowed, all day.",2018-01-01\n', ["Rowed, all day."], id="one row"),
        pytest.param(make_csv("Unnamed: 0,text,date", *TEXTS), TEXTS, id="index column"),
        pytest.param(make_csv(",0,1", *TEXTS), TEXTS, id="numbered columns"),
        pytest.param(make_csv("label,text", *(("pos", text) for text in TEXTS)), TEXTS, id="label first"),
        pytest.param(
            make_csv("title,body", *(("The pump", 2 * text) for text in TEXTS)), [2 * t for t in TEXTS], id="body"
        ),
        pytest.param(make_csv("a,b,c", *TEXTS), TEXTS, id="names that say nothing"),
        pytest.param(make_csv("No,Text,Datum", *TEXTS, delimiter=";"), TEXTS, id="German"),
        pytest.param(make_csv("Nr,Nachricht,Datum", *TEXTS, delimiter=";"), TEXTS, id="Nachricht"),
        pytest.param(make_csv("identifiant,Contenu,Date", *TEXTS, delimiter=";"), TEXTS, id="French"),
        pytest.param(make_csv("Tweet ID,Tweet Text,Tweet Date", *TEXTS), TEXTS, id="Tweet Text"),
        pytest.param(make_csv("ID,TEXT,DATE", *TEXTS), TEXTS, id="capitals"),
        pytest.param(make_csv("comments,text,date", *TEXTS), TEXTS, id="comments are a number"),
        pytest.param(make_csv("Witz", *((text,) for text in TEXTS)), TEXTS, id="one column"),
        pytest.param(make_csv("userComment", *((text,) for text in TEXTS)), TEXTS, id="camelCase"),
        pytest.param("sep=;\r\nid;text\r\n1;Rowed, all day.\r\n2;Tea.\r\n", ["Rowed, all day.", "Tea."], id="sep="),
        pytest.param('text,,,\n"Rowed, all day.",,,\nTea.,,,\n', ["Rowed, all day.", "Tea."], id="empty columns"),
        pytest.param('text,id;;;\n"Rowed, all",1;;;\nTea.,2;;;\n', ["Rowed, all", "Tea."], id=";;;"),
        pytest.param("id|text|likes\n1|Rowed | all day.|3\n2|Tea.|4\n", ["Rowed | all day.", "Tea."], id="bars"),
        pytest.param("id\ttext\tn\n1\tRowed\tall day\t3\n2\tTea\t4\n", ["Rowed\tall day", "Tea"], id="tabs"),
        pytest.param(
            'id\ttext\tn\n1\t"Rowed" all\t3\n2\t"Tea\t4\n3\tBed" time\t5\n',
            ['"Rowed" all', '"Tea', 'Bed" time'],
            id="quotes are characters",
        ),
        pytest.param(unquoted("id,text", *NUMBERED), ["Rowed.", "Tea.", "Bed, then."], id="commas without quotes"),
        pytest.param(
            unquoted("text,user", "Rowed, all day,ann", "Tea.,bob"), ["Rowed, all day", "Tea."], id="text first"
        ),
        pytest.param('id, text\n1, "Rowed, all."\n2, "Tea."\n', ["Rowed, all.", "Tea."], id="blanks after commas"),
        pytest.param('id,text\n1,"So \\"no\\", twice"\n2,Tea.\n', ['So "no", twice', "Tea."], id="backslashes"),
        pytest.param('id;text;n\n1;"He said "row"; so";2\n2;Tea;3\n', ['He said "row"; so', "Tea"], id="not doubled"),
        pytest.param("id,text\n1,'Rowed, all.'\n2,'It''s fine'\n", ["Rowed, all.", "It's fine"], id="single quotes"),
        pytest.param(
            'source,text,created_at\n"Web,Rowed, all.,12-31-2017"\n"Web,""Tea, then."",12-30-2017"\n',
            ["Rowed, all.", "Tea, then."],
            id="rows quoted, header not",
        ),
        pytest.param(
            '"id;text;date"\n"1;Rowed; all.;2017-12-31"\n"2;Tea.;2017-12-31"\n',
            ["Rowed; all.", "Tea."],
            id="rows quoted",
        ),
        pytest.param("text,labelRowed all.,1\nTea.,0\nBed.,1\n", ["Rowed all.", "Tea.", "Bed."], id="header glued"),
        pytest.param("textRowed all.\nTea.\n", ["Rowed all.", "Tea."], id="name glued"),
        pytest.param('tweets"Rowed, all."\nTea.\n', ["Rowed, all.", "Tea."], id="name glued to a quote"),
        pytest.param("\ufeff\ufefftext,n\nRowed all.,1\n", ["Rowed all."], id="two marks"),
        pytest.param("ï»¿text,n\nRowed all.,1\n", ["Rowed all."], id="a mark decoded wrongly"),
        pytest.param('\ufeff"text","n"\n"Rowed, all.","1"\n', ["Rowed, all."], id="a mark before a quote"),
        pytest.param("text,n\rRowed all.,1\rTea.,2\r", ["Rowed all.", "Tea."], id="carriage returns"),
        pytest.param("text,n\nRowed all.,1\ntext,n\nTea.,2\n", ["Rowed all.", "Tea."], id="two files in one"),
        pytest.param("My tweets\n\n" + make_csv("id,text,date", *TEXTS), TEXTS, id="a title"),
        pytest.param("My tweets,,\n" + make_csv("id,text,date", *TEXTS), TEXTS, id="a title in a cell"),
        pytest.param("id,text\n1,b'Rowed \\xe2\\x80\\x93 all'\n", ["Rowed \u2013 all"], id="bytes"),
        pytest.param("id,text\n1,\"['Rowed all', 'and back']\"\n", ["Rowed all", "and back"], id="lists"),
        pytest.param("id;text;n\n1;Rowed\nall day.;3\n22;Tea.;44444\n", ["Rowed\nall day.", "Tea."], id="line end"),
        pytest.param('"text","n"\n"1","Rowed, all.","a"\n"2","Tea.","b"\n', ["Rowed, all.", "Tea."], id="R"),
        pytest.param(" id | text\n----+------\n  1 | Tea, then\n  2 | Bed.\n", ["Tea, then", "Bed."], id="psql"),
        pytest.param(
            "id,text\n1,今天我们划船了很开心\n2,喝茶然后睡觉去了\n",
            ["今天我们划船了很开心", "喝茶然后睡觉去了"],
            id="Chinese",
        ),
        pytest.param("id,content\n1,<p>Rowed<br>all &amp; back</p>\n", ["Rowed\nall & back"], id="HTML alone"),
        pytest.param("id,html,content\n1,<p>Tea all day</p>,Tea all day\n", ["Tea all day"], id="HTML twin"),
        pytest.param("id,text\n1,nan\n2,[deleted]\n3,Tea time.\n", ["Tea time."], id="no values"),
    ],
)
def test_other_tables_give_exactly_their_texts(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert table_texts(tmp_path, content) == texts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([{"id": 1, "text": text} for text in TEXTS])),
        (
            "a.json",
            json.dumps([{"tweet": {"full_text": text}, "user": {"bio": "I row boats."}} for text in TEXTS]),
        ),
        ("a.json", json.dumps(TEXTS)),
        ("a.json", json.dumps({"data": [{"id": 1, "body": text} for text in TEXTS], "meta": {}})),
        ("a.json", json.dumps({"text": {str(at): text for at, text in enumerate(TEXTS)}, "n": {"0": 1}})),
        ("a.json", unquoted(*(json.dumps({"caption": text, "n": 1}) for text in TEXTS))),
        ("a.jsonl", unquoted(*(json.dumps({"rawContent": text, "n": None}) for text in TEXTS))),
        ("a.txt", unquoted(*(json.dumps({"caption": text, "n": 1}) for text in TEXTS))),
        ("a.txt", make_csv("id,text,date", *TEXTS)),
        ("a", make_csv("id,text,date", *TEXTS, delimiter="\t")),
        ("a.tsv", make_csv("id,text,date", *TEXTS, delimiter="\t")),
    ],
)
def test_tables_have_other_names_and_forms(tmp_path: Path, name: str, content: str) -> None:
    assert table_texts(tmp_path, content, name) == TEXTS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "a,b,c\n1,2,3\n4,5,6\n",
            "a table without a column of texts (its columns: a, b, c); to read one",
        ),
        ("1,2,3\n4,5,6\n", "(no header; its first row: 1 | 2 | 3); to read one nevertheless: --column N, from 1"),
        (QUESTIONS, "with several columns of texts (its columns: question, answer); choose one: --column NAME"),
        (
            "milk,bread,eggs\nmilk\nbutter,bread,milk,tea\ntea,milk,bread\n",
            "a list without a column of texts (no header",
        ),
        (
            "version,name,made\n1,Warty Warthog,2004\n2,Hoary Hedgehog\n3,Breezy Badger\n",
            "columns: version, name, made)",
        ),
        ("seed, 0xbeef\n0, 0xa4\n1, 0xc8\n2, 0xd2\n", "a table without a column of texts"),
        ("text\nhttps://t.co/a\nhttps://t.co/b\n", "without a column of texts (its columns: text)"),
    ],
)
def test_a_table_that_is_not_clear_is_refused_with_its_header(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        table_texts(tmp_path, content)
    assert caught.value.exit_code == 65
    assert reason in str(caught.value)


@pytest.mark.parametrize("column", ["answer", "Answer", "2"])
def test_the_user_names_the_column(tmp_path: Path, column: str) -> None:
    assert table_texts(tmp_path, QUESTIONS, column=column) == ["Nothing at all.", "Yes, all day."]


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"a table without a column reply \(its columns: question, answer\)"):
        table_texts(tmp_path, QUESTIONS, column="reply")


def test_a_column_without_a_table_is_an_error_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="--column x: no path is a table") as caught:
        table_texts(tmp_path, "Only prose.", "a.txt", column="x")
    assert caught.value.exit_code == 64


def test_the_choice_of_a_column_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(make_csv("a,b,c", *TEXTS))
    (tmp_path / "a.csv").write_text(
        make_csv("title,text", *((f"Day {at} of tea", text) for at, text in enumerate(TEXTS)))
    )
    warnings = warnings_of(table.read_items(members_of(tmp_path)))
    assert warnings == [
        "the texts are those of column text; there are texts in title too: --column NAME",
        "the texts are those of column b, found by its values; for another: --column NAME",
    ]


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        ("text,retweet,date", ("False", "True")),
        ("text,is_retweet,date", ("0", "1")),
        ("text,isRetweet,date", ("FALSCH", "WAHR")),
        ("text,tweet_type,date", ("tweet", "retweet")),
        ("text,retweeted_status_id,date", ("", "123456.0")),
        ("text,referenced_tweets,date", ("", '[{"type": "retweeted", "id": "1"}]')),
    ],
)
def test_flagged_retweets_are_not_own_words(tmp_path: Path, header: str, flags: tuple[str, str]) -> None:
    rows = [(text, flags[0], "2018-01-01") for text in TEXTS]
    assert table_texts(tmp_path, make_csv(header, *rows, ("Theirs, not mine.", flags[1], "2018-01-01"))) == TEXTS


def test_a_number_of_retweets_is_no_flag(tmp_path: Path) -> None:
    rows = [(text, at % 2, "2018-01-01") for at, text in enumerate(TEXTS)]
    assert table_texts(tmp_path, make_csv("text,retweet,date", *rows)) == TEXTS


def test_tweets_of_others_are_not_own_words(tmp_path: Path) -> None:
    rows = [(text, "Mara_Q", "2018-01-01") for text in (*TEXTS, "Rowed.")]
    content = make_csv("text,username,date", *rows, ("Theirs, not mine.", "odo_b", "2018-01-01"))
    assert table_texts(tmp_path, content) == [*TEXTS, "Rowed."]


def test_a_table_of_two_writers_keeps_both(tmp_path: Path) -> None:
    rows = [(text, "ab"[at % 2], "2018-01-01") for at, text in enumerate(TEXTS)]
    assert table_texts(tmp_path, make_csv("text,username,date", *rows)) == TEXTS


def test_long_texts_of_a_table_are_neither_split_nor_measured(tmp_path: Path) -> None:
    poems = ["\n".join([text] * 12) for text in TEXTS]
    (tmp_path / "a.csv").write_text(make_csv("poem", *((poem,) for poem in poems)), newline="")
    items = list(table.read_items(members_of(tmp_path)))
    assert texts_of(items) == poems
    assert not warnings_of(items)
    assert kept_texts(tmp_path / "a.csv") == poems


def test_a_swallowed_row_is_split_but_for_its_odd_line(tmp_path: Path) -> None:
    lines = [ROWED, f"{ROWED} Again.", ROWED * 5, f"{ROWED} Then tea."]
    (tmp_path / "a.csv").write_text('tweets\nTea.\n"' + "\n".join(lines) + '"\nBed.\n')
    items = list(tweets.read_items(members_of(tmp_path)))
    assert texts_of(items) == ["Tea.", *lines, "Bed."]
    (warning,) = warnings_of(items)
    assert "joined by unbalanced quotes, as it seems" in warning
    assert "(line 3); to keep them whole: --as table" in warning


def test_json_for_programs_is_no_table(tmp_path: Path) -> None:
    flags = [{"name": "W", "comment": "Show Progress", "value": 1}, {"name": "I", "comment": "Ignore Paths Here Now"}]
    (tmp_path / "flags.json").write_text(json.dumps(flags))
    (tmp_path / "quotes.json").write_text(json.dumps([{"quote": text, "author": "Mara"} for text in TEXTS]))
    (tmp_path / "numbers.json").write_text("[1, 2, 3]")
    assert [member.name for member in table.claim(members_of(tmp_path))] == ["quotes.json"]


def test_prose_is_no_table(tmp_path: Path) -> None:
    texts = ["Well, yes", "No, never", "Oh, dear"]
    assert table_texts(tmp_path, unquoted(*texts)) == texts
    assert not table.claim(members_of(make_text(tmp_path / "b", "Text, date and label.\nRowed, all day.\n")))


def make_text(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text(content)
    return folder


CELL = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff"), min_size=1
)


@given(
    st.lists(st.tuples(CELL, st.lists(CELL, min_size=1, max_size=3)), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_valid_table_with_names_gives_its_texts(
    rows: list[tuple[str, list[str]]], delimiter: str, quoting: int, line_end: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerow(["id", "user", "text", "created_at"])
    texts = ["The pump, as ever", *("\n".join(lines) + f" at {at}" for at, (_, lines) in enumerate(rows))]
    users = ["Ann", *(user for user, _ in rows)]
    writer.writerows(
        (at, user, text, "2018-01-01 10:00") for at, (user, text) in enumerate(zip(users, texts, strict=True))
    )
    data = out.getvalue().encode()
    member = Member("a.csv", "a.csv", len(data), lambda: io.BytesIO(data))
    items = list(table.read_items([member]))
    assert texts_of(items) == [text.strip() for text in texts]
    assert not damaged_of(items)


@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.json", "a.jsonl"]))
def test_no_bytes_break_the_reader(data: bytes, name: str) -> None:
    member = Member(name, name, len(data), lambda: io.BytesIO(data))
    for importer in (table, tweets):
        list(importer.read_items(importer.claim([member])))
        list(importer.read_items([member]))


@given(st.text(st.sampled_from("ab \"',;\t|\n[]{}:1"), max_size=120), st.sampled_from(["a.csv", "a.json", "a.jsonl"]))
def test_no_text_breaks_the_reader(content: str, name: str) -> None:
    test_no_bytes_break_the_reader.hypothesis.inner_test(content.encode(), name)  # type: ignore[attr-defined]
