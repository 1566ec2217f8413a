from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from model.store.documents import normalise_text
from tools.corpus.record import Record
from tools.corpus.rendering import INDENT, MAX_LINES, MAX_SILENCE_S, render_documents, speaker_tag

HOUR = 3600.0


def said(who: str, text: str, when: float | None = None, thread: str = "t") -> Record:
    return Record("s", thread, text, who, when, "message")


def test_dialogue_is_a_line_a_message_each_with_its_name() -> None:
    records = [said("Ann", "Hi"), said("Bob", "Hello\n\nthere: you"), said("Bob", "Well?"), said("Ann", "Yes")]
    assert list(render_documents(records)) == [f"Ann: Hi\nBob: Hello\n{INDENT}there: you\nBob: Well?\nAnn: Yes"]


def test_a_line_that_looks_like_a_name_is_no_name() -> None:
    (text,) = render_documents([said("Ann", "he wrote\nBob: no\r\u2028Cy: yes")])
    assert [line for line in text.splitlines() if not line.startswith(INDENT)] == ["Ann: he wrote"]


def test_a_conversation_ends_where_long_nobody_spoke_and_where_another_begins() -> None:
    records = [
        said("A", "1", 0),
        said("B", "2", MAX_SILENCE_S),
        said("A", "3", 2 * MAX_SILENCE_S + 1),
        said("A", "4", 9e9, "u"),
    ]
    assert list(render_documents(records)) == ["A: 1\nB: 2", "A: 3", "A: 4"]
    assert len(list(render_documents([said("A", "1", thread=""), said("A", "2", thread="")]))) == 2
    assert (
        len(list(render_documents([said("A", "1", 9.0), said("B", "2"), said("A", "3", 9e9)]))) == 1
    )  # no date, no silence


def test_a_conversation_goes_on_from_file_to_file() -> None:
    records = [Record(f"message_{n}.json", "t", str(n), "A", n * HOUR, "message") for n in (1, 2)]
    assert list(render_documents(records)) == ["A: 1\nA: 2"]


def test_a_tweet_is_a_document_and_so_is_a_book_with_all_its_pages() -> None:
    tweets = [Record("s", "t", text, "A", kind="tweet") for text in ("one", "two\nlines")]
    pages = [Record("s", "t", text) for text in ("page one", " ", "page two")]
    others = [Record("s", "", "a"), Record("s", "", "b"), Record("z", "t", "c")]
    assert list(render_documents([Record("s", "t", "a"), Record("z", "t", "b")])) == ["a", "b"]  # books of one name
    assert list(render_documents(tweets + pages + others)) == ["one", "two\nlines", "page one\npage two", "a", "b", "c"]


def test_names_are_one_line_without_a_colon_and_nobody_has_no_tag() -> None:
    assert speaker_tag("Dr: Ann\n Lee ") == "Dr Ann Lee:"
    assert speaker_tag("") == speaker_tag(" :\n") == ""
    assert list(render_documents([said("", "Hi\nthere")])) == [f"Hi\n{INDENT}there"]


def test_no_document_has_an_end_of_text() -> None:
    mark = "<|endoftext|>"
    records = [said(mark, f"a {mark}{mark}"), Record("s", "", f"x\n<|endof{mark}text|>\n{mark}\ny")]
    assert mark not in "".join(render_documents(records))


def test_a_million_messages_without_a_date_are_no_single_document() -> None:
    def many() -> Iterator[Record]:
        for number in range(3 * MAX_LINES):
            yield said("A", str(number))

    assert [text.count("\n") + 1 for text in render_documents(many())] == [MAX_LINES] * 3


RECORDS = st.builds(
    Record,
    st.sampled_from(["s", "z"]),
    st.sampled_from(["", "t", "u"]),
    st.text(max_size=20) | st.sampled_from(["<|endoftext|>", "\ud83d", "a\r\nb", "\x1c", "A: b\nB: c"]),
    st.sampled_from(["", "A", "B: c", "\n"]),
    st.none() | st.floats(0, 1e6),
    st.sampled_from(["document", "message", "tweet"]),
)


@given(st.lists(RECORDS, max_size=12))
def test_whatever_comes_documents_can_be_written_are_not_blank_and_come_again_the_same(records: list[Record]) -> None:
    found = list(render_documents(records))
    assert found == list(render_documents(records))
    for text in found:
        assert normalise_text(text).strip()
        assert "<|endoftext|>" not in text
        text.encode()


@given(st.lists(st.builds(said, st.sampled_from(["A", "B"]), st.text(min_size=1, max_size=20)), min_size=1, max_size=9))
def test_as_many_lines_have_a_name_as_there_are_messages(records: list[Record]) -> None:
    lines = [line for text in render_documents(records) for line in text.splitlines()]
    whole = [record for record in records if record.text.strip()]
    assert [line[:2] for line in lines if not line.startswith(INDENT)] == [f"{record.who}:" for record in whole]
