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
from tools.corpus.progress import ImportProgress
from tools.corpus.report import build_report
from tools.corpus.tables.csv_rows import CsvFormat
from tools.corpus.tables.csv_separators import COLUMN_GAP, QUOTES, SEPARATOR_CHAR, decode_cells, encode_line


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
    "separator",
    [
        "~",
        "^",
        "\x01",
        "\x1f",
        "¦",
        ":::",
        "|~|",
        " +++$+++ ",
        "#$#",
        "::",
        "^|^",
        "§",
        " - ",
        "/",
        "#",
        ":",
        "@",
        "*",
        "<>",
        "___",
        "\\t",
        " ~ ",
    ],
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
        ["*Rowed* home.", "*Tea* and bed."],
        ["Rowed ** home.", "Tea ** and bed."],
        ["Rowed... home", "Tea... and bed"],
        ["Rowed home :-) at six", "Tea :-) then bed"],
        ["Rowed home.  Then tea.", "Tea.  Then bed."],
        ["Row, row and row ~ Odo", "Tea is tea ~ Mara"],
        ["Up ~~ late", "The ~~ old pump."],
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
        ("id,text\n1,'He said, it's me'\n2,'Rowed, home'\n", ["He said, it's me", "Rowed, home"]),
        ("`id`,`text`\n1,`He said, stop`\n2,`Rowed, home`\n", ["He said, stop", "Rowed, home"]),
        ("id,text\n1,“He said, no”\n2,“Rowed, home”\n", ["He said, no", "Rowed, home"]),
        ('"id"~"text"\n"1"~"Rowed ~ home"\n"2"~"Tea at noon"\n', ["Rowed ~ home", "Tea at noon"]),
        ('id, user, tweet\n1,odo,"Rowed, so, all day"\n', ["Rowed, so, all day"]),
        ("text~label\nRowed ~ home.~1\nTea at noon.~0\n", ["Rowed ~ home.", "Tea at noon."]),
        ("Rowed home, so.~odo\nTea at noon.~mara\n", ["Rowed home, so.", "Tea at noon."]),
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
        ("post,title", 0, [("Nice", A_PICTURE), ("Wow", A_PICTURE)]),
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


def test_a_first_row_that_may_be_a_header_is_told(tmp_path: Path) -> None:
    content = '"Statement, edited"\n"The pump was stuck."\n"Tea, then bed."\n'
    assert kept_texts(tmp_path, content) == ["Statement, edited", "The pump was stuck.", BED]
    assert "if it names the column: --column 'Statement, edited'" in str(build_report("x").warnings)


def test_pandas_numbers_columns_after_an_index(tmp_path: Path) -> None:
    content = "Unnamed: 0,0,1\n0,odo,The pump was stuck since Monday.\n1,mara,Tea then bed.\n"
    assert kept_texts(tmp_path, content) == ["The pump was stuck since Monday.", "Tea then bed."]


@given(st.text(st.sampled_from("ab \"'~:")), st.sampled_from(["", ":::", "~~~"]), st.sampled_from(["", *QUOTES]))
def test_an_encoded_line_can_be_decoded(line: str, separator: str, quotes: str) -> None:
    format = CsvFormat(SEPARATOR_CHAR, separator=separator, quotes=quotes)
    assert decode_cells([encode_line(line, format)], format) == [line]


def test_two_blanks_are_between_columns() -> None:
    assert encode_line("1   Rowed home.    odo  ", CsvFormat(separator=COLUMN_GAP)) == "\x1f".join(
        ("1", "Rowed home.", "odo")
    )


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("ham\tOk lar, joking.\nspam\tFree entry, now.\n", ["Ok lar, joking.", "Free entry, now."]),
        (
            "1\tThe pump.\t2020-01-01\n2\tTea.\t2020-01-02\n3\tBed time, so.\t2020-01-03\n",
            ["The pump.", "Tea.", "Bed time, so."],
        ),
        ("1,The pump is stuck.,2020-01-01\n2,Tea at noon.,2020-01-02\n", ["The pump is stuck.", "Tea at noon."]),
        ("i didnt feel humiliated;sadness\ni can go so far;joy\n", ["i didnt feel humiliated", "i can go so far"]),
        (
            "Nr\tBeitrag\n1\tGestern gab es Tee.\n2\tHeute auch, sagt Odo.\n",
            ["Gestern gab es Tee.", "Heute auch, sagt Odo."],
        ),
        ('{"text":"Rowed home, all day long.","id":1}\n', ["Rowed home, all day long."]),
        (
            "1234567890123456789 2021-03-01 10:00:00 +0000 <mara_q> Rowed, all day.\n"
            "1234567890123456788 2021-03-01 09:00:00 +0000 <mara_q> Tea at noon.\n",
            ["Rowed, all day.", "Tea at noon."],
        ),
        ("__label__2 Great CD: so good.\n__label__1 It died, alas.\n", ["Great CD: so good.", "It died, alas."]),
        (
            "L1 +++$+++ u0 +++$+++ BIANCA +++$+++ They do not!\nL2 +++$+++ u2 +++$+++ ODO +++$+++ They do to!\n",
            ["They do not!", "They do to!"],
        ),
    ],
)
def test_small_tables_in_text_files_are_read(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert kept_texts(tmp_path, content, "table.txt") == texts


def test_two_columns_of_texts_in_a_text_file_are_refused(tmp_path: Path) -> None:
    licence = "CC-BY 2.0 (France) Attribution: tatoeba.org #1 (CK)"
    content = lines_of(f"Go now.\tGeh jetzt.\t{licence}", f"The pump is stuck.\tDie Pumpe klemmt.\t{licence}")
    with pytest.raises(ToolError) as caught:
        kept_texts(tmp_path, content, "deu.txt")
    assert "choose one: --column N, from 1; to read the file as one text: --as text" in str(caught.value)
    assert kept_texts(tmp_path, content, "deu.txt", column="2") == ["Geh jetzt.", "Die Pumpe klemmt."]


@pytest.mark.parametrize(
    "content",
    [
        "Roses are red, violets are blue;\nsugar is sweet, and so are you;\n",
        "\tRowed home at six.\n\tTea at noon, and bed.\n\tUp again.\n",
        "Soup;\nFish;\nTea;\n",
        "Rowed home -- and tea.\nTea -- then bed.\n",
        "The pump is stuck.  Tea.\nWe rowed.  Bed.\n",
        "Mara, the pilot.\nOdo, the cook.\n",
        "Subject: Lyrics\nDate: Friday\nTo: Mara\n\nRowed home.\n",
        "Date/Time\nRowed home and/or tea.\nBed and/or tea.\n",
    ],
)
def test_prose_in_a_text_file_is_no_table(tmp_path: Path, content: str) -> None:
    kept_texts(tmp_path, content, "a.txt")
    (record,) = storage.open_records("x")
    assert record.text.strip("\n") == content.strip("\n")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, ("t", "f")) for name in ("is_retweeted", "isRetweeted", "rt_flag", "is_a_retweet", "tweet_is_rt")),
        ("RT", ("RT", "")),
        ("RT", ("True", "False")),
        ("Is Retweet?", ("yes", "no")),
        ("retweet_flag", ("1", "0")),
        ("is_retweeted", ("1.0", "0.0")),
        ("verb", ("share", "post")),
    ],
)
def test_more_flags_of_retweets(tmp_path: Path, name: str, values: tuple[str, str]) -> None:
    content = f"id,{name},text\n1,{values[0]},The words of another.\n2,{values[1]},My own words.\n"
    assert kept_texts(tmp_path, content) == ["My own words."]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("Rowed.<br /><br />It was <i>very</i> good.", "Rowed.\n\nIt was very good."),
        ("Rowed <i>home</i>\nand back", "Rowed home\nand back"),
        ('Ask <a href=""http://x.example"">them</a> all.', "Ask them all."),
        ("<p>Rowed <b>home</b>.</p><p>Tea &amp; bed.</p>", "Rowed home.\n\nTea & bed."),
        ("I <3 tea, and 5 < 6 > 4.", "I <3 tea, and 5 < 6 > 4."),
        ("**Rowed** home, see [this](http://x.example).", "Rowed home, see this."),
        ("Tea ~~then~~ bed, 2 ** 3 ** 4.", "Tea then bed, 2 ** 3 ** 4."),
        ("Rowed&lt;br /&gt;home &amp;amp; back", "Rowed\nhome & back"),
        ("<script>x()</script>Rowed <b>home</b>", "Rowed home"),
        ("Rowed_x000D_\nhome.", "Rowed\nhome."),
        ('=""Rowed home""', "Rowed home"),
        ("'=Tea then bed.", "=Tea then bed."),
        ("'tis tea time.", "'tis tea time."),
        ("Rowed \\u201chome\\u201d in \\ud83d\\udea3.", "Rowed \u201chome\u201d in \U0001f6a3."),
        ("It\\xe2\\x80\\x99s caf\\xe9.", "It\u2019s caf\xe9."),
        ("Rowed\\nhome.", "Rowed\nhome."),
        ("See C:\\new\\table for it.", "See C:\\new\\table for it."),
        ("dwindling\\band of cynics", "dwindling\\band of cynics"),
        (
            "Message-ID: <1@x>\nDate: Mon, 14 May 2001\nFrom: odo@x.example\nSubject: \n\nHere is our forecast.",
            "Here is our forecast.",
        ),
        ('{""text"":""Thanks, ""},{""text"":""@odo""}', "Thanks, @odo"),
    ],
)
def test_cells_lose_what_programs_add(tmp_path: Path, cell: str, text: str) -> None:
    path = make_folder(tmp_path / "files", {"table.csv": f'id,text\n1,"{cell}"\n'}) / "table.csv"
    with ImportProgress() as progress:
        add.add_paths("x", [path], "", CleaningOptions(), progress)
    assert [record.text for record in storage.open_records("x")] == [text]


@pytest.mark.parametrize("error", ["#NAME?", "#REF!", "#VALUE!", "#DIV/0!"])
def test_errors_of_spreadsheets_are_no_texts(tmp_path: Path, error: str) -> None:
    assert kept_texts(tmp_path, f"text\nRowed home.\n{error}\n") == ["Rowed home."]


def test_the_author_of_a_book_did_not_write_the_review(tmp_path: Path) -> None:
    content = "Title,Author,My Review\nThe Pump,F. Scott Brink,A fine book with a boat in it.\n"
    kept_texts(tmp_path, content)
    assert [record.who for record in storage.open_records("x")] == [""]


@pytest.mark.parametrize(
    "header", ["ProductId,UserId,Time,Summary,Text", "title,text,subject,date,x", "by,id,kids,time,text"]
)
def test_reviews_and_articles_are_no_tweets(tmp_path: Path, header: str) -> None:
    cells = {"Text": ROWED, "text": ROWED}
    kept_texts(tmp_path, lines_of(header, ",".join(f'"{cells.get(name, "1")}"' for name in header.split(","))))
    assert [(record.kind, record.text) for record in storage.open_records("x")] == [("document", ROWED)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"headline": "Rowed home all day", "id": 1}\n{"headline": "Tea at noon or so", "id": 2}\n'),
        ("a.json", '{"text": "Rowed home all day", "id": 1},\n{"text": "Tea at noon or so", "id": 2},\n'),
        ("a.json", '[["id", "text"], ["1", "Rowed home all day"], ["2", "Tea at noon or so"]]'),
        ("a.json", '[[1, "Rowed home all day"], [2, "Tea at noon or so"]]'),
        ("a.jsonl", '{"text": "Rowed home all day"}\n{"text": "Tea at noon or so"}\n'),
    ],
)
def test_json_that_is_given_alone_is_read(tmp_path: Path, name: str, content: str) -> None:
    path = make_folder(tmp_path / "files", {name: content}) / name
    with ImportProgress() as progress:
        add.add_paths("x", [path], "", CleaningOptions(), progress)
    assert [record.text for record in storage.open_records("x")] == ["Rowed home all day", "Tea at noon or so"]


@pytest.mark.parametrize(
    "content",
    [
        '{"color":"DEFAULT","textContent":"Buy rope.","title":"Boat"}',
        '[{"id":"1","turns":[{"who":"human","value":"Is it?"}]}]',
        '{"data":[{"paragraphs":[{"context":"The pump was stuck."}]}]}',
        "{'text': 'Rowed home all day.'}\n",
        "[1, 2, 3]",
        '{"a": 1}',
    ],
)
def test_json_without_texts_is_refused_with_its_keys(tmp_path: Path, content: str) -> None:
    with pytest.raises(ToolError) as caught:
        kept_texts(tmp_path, content, "a.json")
    assert "JSON without a list of texts" in str(caught.value)
    assert "to read it with all its keys and brackets: --as text" in str(caught.value)


def test_json_of_a_program_in_a_folder_is_left_out(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "files", {"package.json": '{"name": "pump", "version": "1"}', "a.txt": ROWED + "\n"})
    with ImportProgress() as progress:
        add.add_paths("x", [path], "", CleaningOptions(), progress)
    assert [record.text.strip() for record in storage.open_records("x")] == [ROWED]
