from hypothesis import given
from hypothesis import strategies as st

from model.store.documents import normalise_text
from tools.corpus.record import Record
from tools.corpus.rendering import INDENT, MAX_LINES, MAX_SILENCE_S, render_documents, speaker_tag

HOUR = 3600.0


def message(who: str, text: str, when: float | None = None, thread: str = "t") -> Record:
    return Record("s", thread, text, who, when, "message")


def test_a_dialogue_has_a_line_with_a_name_for_each_message() -> None:
    turns = [("Ann", "Hi"), ("Bob", "Hello\n\nthere: you"), ("Bob", "Well?"), ("Ann", "Yes")]
    records = [message(who, text) for who, text in turns]
    assert list(render_documents(records)) == [f"Ann: Hi\nBob: Hello\n{INDENT}there: you\nBob: Well?\nAnn: Yes"]


def test_a_text_line_that_looks_like_a_tag_is_indented() -> None:
    (text,) = render_documents([message("Ann", "he wrote\nBob: no\r\u2028Cy: yes")])
    assert [line for line in text.splitlines() if not line.startswith(INDENT)] == ["Ann: he wrote"]


def test_a_conversation_ends_after_a_long_silence_or_with_its_thread() -> None:
    records = [message("A", "1", 0), message("B", "2", MAX_SILENCE_S), message("A", "3", 2 * MAX_SILENCE_S + 1)]
    records.append(message("A", "4", 9e9, "u"))
    assert list(render_documents(records)) == ["A: 1\nB: 2", "A: 3", "A: 4"]
    assert len(list(render_documents([message("A", "1", thread=""), message("A", "2", thread="")]))) == 2
    undated = [message("A", "1", 9.0), message("B", "2"), message("A", "3", 9e9)]
    assert len(list(render_documents(undated))) == 1  # without dates there is no silence


def test_a_conversation_continues_across_files() -> None:
    records = [Record(f"message_{n}.json", "t", str(n), "A", n * HOUR, "message") for n in (1, 2)]
    assert list(render_documents(records)) == ["A: 1\nA: 2"]


def test_a_tweet_and_a_book_with_all_pages_are_documents() -> None:
    tweets = [Record("s", "t", text, "A", kind="tweet") for text in ("one", "two\nlines")]
    pages = [Record("s", "t", text) for text in ("page one", " ", "page two")]
    others = [Record("s", "", "a"), Record("s", "", "b"), Record("z", "t", "c")]
    namesakes = [Record("s", "t", "a"), Record("z", "t", "b")]
    assert list(render_documents(namesakes)) == ["a", "b"]
    assert list(render_documents(tweets + pages + others)) == ["one", "two\nlines", "page one\npage two", "a", "b", "c"]


def test_tags_are_one_line_without_a_colon_and_empty_names_have_none() -> None:
    assert speaker_tag("Dr: Ann\n Lee ") == "Dr Ann Lee:"
    assert speaker_tag("") == speaker_tag(" :\n") == ""
    assert list(render_documents([message("", "Hi\nthere")])) == [f"Hi\n{INDENT}there"]


def test_no_document_contains_an_end_of_text() -> None:
    mark = "<|endoftext|>"
    records = [message(mark, f"a {mark}{mark}"), Record("s", "", f"x\n<|endof{mark}text|>\n{mark}\ny")]
    assert mark not in "".join(render_documents(records))


def test_undated_messages_are_split_into_documents() -> None:
    records = (message("A", str(number)) for number in range(3 * MAX_LINES))
    assert [text.count("\n") + 1 for text in render_documents(records)] == [MAX_LINES] * 3


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
def test_documents_can_be_encoded_are_not_blank_and_are_stable(records: list[Record]) -> None:
    documents = list(render_documents(records))
    assert documents == list(render_documents(records))
    for text in documents:
        assert normalise_text(text).strip()
        assert "<|endoftext|>" not in text
        text.encode()


MESSAGES = st.builds(message, st.sampled_from(["A", "B"]), st.text(min_size=1, max_size=20))


@given(st.lists(MESSAGES, min_size=1, max_size=9))
def test_each_message_has_exactly_one_tag(records: list[Record]) -> None:
    lines = [line for text in render_documents(records) for line in text.splitlines()]
    tags = [f"{record.who}:" for record in records if record.text.strip()]
    assert [line[:2] for line in lines if not line.startswith(INDENT)] == tags
