from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.markdown_text import strip_markdown


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('---\ntitle: "The pump"\ntags: [boat]\n---\n\n# The pump\n', "The pump\n"),
        ("+++\ntitle = 1\n+++\nRowed.\n", "Rowed.\n"),
        ("Rowed.\n\n---\n\nTea: fine.\n\n---\n", "Rowed.\n\nTea: fine.\n"),
        (
            "It was **stuck** since [Monday](https://x.example/a_(b)). ![photo](pump.jpg)\n",
            "It was stuck since Monday.\n",
        ),
        ("[![badge](a.svg)](http://x) See [the boat][1].\n\n[1]: http://y 'z'\n", " See the boat.\n"),
        ("Title\n=====\n\nPart\n----\n\n## Head ##\n", "Title\n\nPart\n\nHead\n"),
        ("one\n```python\nprint(1)\n```\ntwo\n~~~\nx\n~~~\n", "one\ntwo\n"),
        ("one\n```\nnever closed\n", "one\n```\nnever closed\n"),
        (
            "*so* _it_ __is__ ***all*** ~~old~~ `code` and un**believ**able\n",
            "so it is all old code and unbelievable\n",
        ),
        ("snake_case_name 2*3*4 * 5 and _ _ alone\n", "snake_case_name 2*3*4 * 5 and _ _ alone\n"),
        ("> quoted\n> > twice\n", "quoted\ntwice\n"),
        ("- one\n* two\n1. three\n", "- one\n* two\n1. three\n"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |\n", "a  b\n1  2\n"),
        ("<!-- hidden -->Rowed <b>home</b> {% include x %}<https://x.example>\n", "Rowed home\n"),
        (
            "The pump[^1] is stuck.\n\n[^1]: A pump is a machine.\n    And more of it.\n\n    A second part.\n\n"
            "End.^[Aside.]\n",
            "The pump is stuck.\n\nA pump is a machine.\nAnd more of it.\n\nA second part.\n\nEnd. (Aside.)\n",
        ),
        ("[^a]: One.\n[^b-2]: Two.\n\tMore.\n[1]: http://x\n", "One.\nTwo.\nMore.\n"),
        (
            "See [[Pump|the pump]] and [[Oar]].![[x.png]]%% hidden\nwords %% ==Now== go ^a1b2c3\n",
            "See the pump and Oar. Now go\n",
        ),
        ("It is 50%% or 20%% of a == b == c, x ^2\n", "It is 50%% or 20%% of a == b == c, x ^2\n"),
        ("> [!note] Mind\n> the oar\n", "Mind\nthe oar\n"),
        ("\\*not emphasis\\* and 1\\. here\n", "*not emphasis* and 1. here\n"),
    ],
)
def test_words_stay_and_markup_goes(markup: str, text: str) -> None:
    assert strip_markdown(markup) == text


@given(st.text("a *_`#>[]()!-|\n~<", max_size=200))
def test_no_word_is_lost_outside_code_images_and_tags(text: str) -> None:
    bare = text.replace("<", "").replace("`", "").replace("~", "").replace("!", "").replace("[", "").replace("---", "")
    assert strip_markdown(bare).count("a") == bare.count("a")


UNITS = [
    "[[",
    "%%",
    "==",
    "[^a]: b\n ",
    "^[",
    "*",
    "_a",
    "[",
    "![",
    "[a](",
    "`",
    "<!--",
    "{%",
    "#",
    ">",
    "|",
    "```\n",
    "~~~ \n",
    "---\n",
    "<a ",
]


@pytest.mark.parametrize("unit", UNITS)
def test_pathological_texts_are_stripped_quickly(unit: str) -> None:
    start = time.process_time()
    strip_markdown(unit * 5000)
    assert time.process_time() - start < 3
