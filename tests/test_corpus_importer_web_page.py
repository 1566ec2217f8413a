from __future__ import annotations

import io
import time
from html.parser import HTMLParser

import pytest
from corpus_items import skip_reasons, texts_of
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.archive import Member
from tools.corpus.decoding.encodings import read_as_utf8
from tools.corpus.html_text import html_to_text
from tools.corpus.importers import web_page


def page_member(data: str | bytes, name: str = "a.html") -> Member:
    raw = data.encode() if isinstance(data, str) else data
    return read_as_utf8(Member(name, name, len(raw), lambda: io.BytesIO(raw)))


def test_paragraphs_headings_lists_and_lines() -> None:
    page = """<!DOCTYPE html><html><head><title>Not this</title><style>p {}</style></head><body>
    <h1>The  <em>Pump</em></h1><p>It was
    stuck&nbsp;since <b>Mon</b>day &amp; Tuesday.</p><p>Rowed;<br>then tea.</p>
    <ul><li>an oar</li><li><p>a boat</p></li></ul><hr>
    <pre>  one
    two</pre><blockquote>She said “no”.</blockquote>
    <table><tr><th>Day</th><td>Tea</td></tr><tr><td>1</td><td>2</td></tr></table></body></html>"""
    assert html_to_text(page) == (
        "The Pump\n\nIt was stuck\u00a0since Monday & Tuesday.\n\nRowed;\nthen tea.\n\nan oar\n\na boat\n\n"
        "  one\n    two\n\nShe said “no”.\n\nDay  Tea\n1  2"
    )


@pytest.mark.parametrize(
    "noise",
    [
        "<script>var a = '<p>x</p>';</script>",
        "<script src='x'/>",
        "<style>p { color: red }</style>",
        "<nav><ul><li>Home</li><li>About</li></ul></nav>",
        "<header><a>My blog</a></header>",
        "<footer>Copyright</footer>",
        "<aside>Related</aside>",
        "<form><input value='x'><button>Send</button></form>",
        "<noscript>Enable it</noscript>",
        "<template><p>x</p></template>",
        "<svg><text>x</text></svg>",
        "<p hidden>x</p>",
        "<div style='display: none'><div>x</div>y</div>",
        "<span class='pagenum'>[12]</span>",
        "<a epub:type='noteref' href='#1'>1</a>",
        "<div class='sr-only'>x</div>",
        "<!-- <p>x</p> -->",
        "<img alt='photo' src='a.jpg'>",
        "<title/>",
    ],
)
def test_what_is_no_text_is_left_out(noise: str) -> None:
    assert html_to_text(f"<html><body>{noise}<p>It was stuck.</p>{noise}<p>Rowed.</p></body></html>") == (
        "It was stuck.\n\nRowed."
    )


def test_headers_of_articles_and_of_books_stay() -> None:
    page = "<article><header><h1>The Pump</h1></header><p>Stuck.</p><footer>Odo</footer></article>"
    assert html_to_text(page) == "The Pump\n\nStuck.\n\nOdo"
    assert html_to_text("<body><header>I</header><p>Stuck.</p></body>", is_book=True) == "I\n\nStuck."


def test_broken_pages_are_read() -> None:
    assert html_to_text("<p>one<p>two<b>three</p></i><div>four") == "one\n\ntwothree\n\nfour"
    assert html_to_text("<head><title>x</title><body><p>one") == "one"
    assert html_to_text("1 < 2 & 3 > 2 &eacute; &#8217; &bogus;") == "1 < 2 & 3 > 2 é ’ &bogus;"
    assert html_to_text(
        '<?xml version="1.0"?><html xmlns="x"><body><p>a<br/>b</p><p><![CDATA[c]]></p></body></html>'
    ) == ("a\nb\n\nc")
    assert html_to_text("plain") == "plain"


def test_pages_are_claimed_by_name_or_by_their_start() -> None:
    for name in ("a.html", "b.HTM", "c.xhtml"):
        assert web_page.claim([page_member("<p>x", name)])
    for start in ("<!DOCTYPE html>", "\ufeff<html>", '<?xml version="1.0"?>\n<!-- x -->\n<html lang="en">'):
        assert web_page.claim([page_member(f"{start}<p>x", "page.txt")])
    assert not web_page.claim([page_member("He wrote <html> on it", "a.txt")])
    assert not web_page.claim([page_member(b"\0\1<html>", "a.html")])


def test_the_encoding_of_a_page_is_recognised_or_declared() -> None:
    page = "<html><head><meta charset=iso-8859-2></head><body><p>hétfő</p></body></html>".encode("iso8859_2")
    assert texts_of(web_page.read_items([page_member(page)])) == ["hétfő"]
    page = "<html><body><p>déjà</p></body></html>".encode("cp1252")
    assert texts_of(web_page.read_items([page_member(page)])) == ["déjà"]


def test_a_page_without_text_is_counted() -> None:
    assert skip_reasons(web_page.read_items([page_member("<html><nav>Home</nav></html>")])) == ["a page without text"]


BITS = st.sampled_from(["<p>", "</p>", "<nav>", "</nav>", "<br/>", "<!--", "-->", "a", " ", "<", "&", "]]>"])
UNITS = ["<", "<a ", "<p>", "<!--", "&", "<![CDATA[", "</", "<a href='", "<script>", "&#", '<p b="c']


@given(st.lists(BITS, max_size=40))
def test_no_page_raises(parts: list[str]) -> None:
    assert isinstance(html_to_text("".join(parts)), str)


@pytest.mark.parametrize("unit", UNITS)
def test_a_pathological_page_costs_little_more_than_its_parser(unit: str) -> None:
    page, parser = unit * 3000, HTMLParser()
    started_at = time.process_time()
    parser.feed(page)
    parser.close()
    parsed_at = time.process_time()
    html_to_text(page)
    assert time.process_time() - parsed_at < 2 * (parsed_at - started_at) + 0.1
