from __future__ import annotations

import time
from pathlib import Path

import pytest
from corpus_items import texts_of, warnings_of

from tools.corpus import detect
from tools.corpus.formats.markup_kinds import describe_markup
from tools.corpus.formats.prose import describe_non_prose

PROSE = "The pump is stuck since Monday, and we rowed home over the lake. Tea was made, and Mara slept.\n"
MARKED = {
    "the turns of a chat": "<|im_start|>user\nIs it fixed?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n",
    "the turns of a chat ": "[INST] Is it fixed? [/INST] No.\n",
    "the turns of a chat  ": "### Instruction:\nIs it fixed?\n\n### Response:\nNo.\n",
    "XML": '<?xml version="1.0"?>\n<FictionBook><body><p>Rowed.</p></body></FictionBook>\n',
    "HTML": "It is <b>stuck</b>,<br>\nand <a href='x'>Mara</a> rowed.\n",
    "BBCode": "[b]The pump[/b] is stuck. [url=http://x]See[/url]\n",
    "LaTeX": "\\section{Pump}\n\\emph{Stuck} \\cite{odo}\n",
    "troff": ".TH PUMP 1\n.SH NAME\npump\n.PP\n",
    "Org": "#+TITLE: The pump\n* TODO Row home\n",
    "reStructuredText": ".. note:: Mind\n\nSee :ref:`pump` and ``oar``.\n",
    "AsciiDoc": ":author: Odo\n\nimage::pump.png[]\n",
    "a wiki": "'''The pump''' is a [[machine]].\n\n== History ==\n",
    "Markdown": "# The pump\n\nIt is **stuck**, see [here](https://x.example).\n\n## Oars\n",
}


@pytest.mark.parametrize("name", MARKED)
def test_the_markup_of_a_text_is_named_with_a_cure(name: str) -> None:
    warning = describe_markup(MARKED[name] + PROSE * 5)
    assert warning.startswith(f"the marks of {name.strip()} stay in the text; to be rid of them: ")


@pytest.mark.parametrize(
    "text",
    [
        PROSE * 20,
        "He said [sic] it [1] was so, 5 < 6 and 7 > 6. ** stars ** and #1, ``quoted'' words, {{ and }}.\n",
        "== The pump ==\n\n" + PROSE,
        "[b] is the second item, [i] the ninth. 'One' and ''two''.\n",
        "Title: The pump\n\n* TODO\n\n.. and so on\n",
        "I wrote <b> once, and <i> twice. A [[double]] bracket.\n",
        "# 1\n# 2\n# 3\n# 4\n# 5\n",
    ],
)
def test_prose_has_no_markup(text: str) -> None:
    assert describe_markup(text) == ""


def test_the_import_of_a_text_warns_and_one_of_markdown_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MARKED["BBCode"] + PROSE)
    items = [item for group in detect.detect_kinds(tmp_path).groups for item in detect.read_items(group)]
    assert "BBCode" in warnings_of(items)[0]
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.md").write_text(MARKED["Markdown"] + PROSE)
    items = [item for group in detect.detect_kinds(tmp_path).groups for item in detect.read_items(group)]
    assert not warnings_of(items)
    assert "**" not in texts_of(items)[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.fb2",
            "<FictionBook><body><p>The pump was stuck since Monday, and nobody could mend it.</p></body></FictionBook>",
        ),
        (
            "a.opml",
            "<opml><body><outline text='The pump was stuck since Monday, and nobody could mend it.'/></body></opml>",
        ),
        ("a.azw3", "x\0" * 60 + "BOOKMOBI"),
    ],
)
def test_a_document_with_markup_beside_a_text_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "b.txt").write_text(PROSE)
    (tmp_path / name).write_text(content)
    found = detect.detect_kinds(tmp_path)
    assert texts_of([item for group in found.groups for item in detect.read_items(group)]) == [PROSE]
    assert [item.source.endswith(name) for item in found.damaged] == [True]


@pytest.mark.parametrize(
    "line",
    [
        "[Mon Mar 01 10:00:00 2021] [error] [client 10.0.0.1] File does not exist",
        "I0301 10:00:00.000000 1234 pump.go:12] started",
        "<34>1 2021-03-01T10:00:00Z host pump started",
        "time=10:00 level=info msg=started pump=1",
    ],
)
def test_the_logs_of_servers_are_no_prose(line: str) -> None:
    assert describe_non_prose(f"{line}\n" * 20) == "a log of a program"


def test_lines_without_blanks_are_no_word_list_and_no_encoded_data() -> None:
    assert describe_non_prose("ポンプが止まった。\n月曜日でした\n" * 40) == ""
    assert describe_non_prose("水泵星期一停了。我们划船回家。" * 200) == ""


@pytest.mark.parametrize(
    "text", ["[b]" * 20_000, "[[" * 30_000, "<a " * 20_000, "''" * 30_000, "{{" * 30_000, "\n * " * 20_000]
)
def test_pathological_texts_are_examined_quickly(text: str) -> None:
    start = time.process_time()
    describe_markup(text)
    assert time.process_time() - start < 3
