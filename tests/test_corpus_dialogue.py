"""Conversations in prose become messages of two speakers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import dialogue, storage
from tools.corpus.record import Record, SkippedItem

STORY = """\
The rain had stopped. Holmes looked out of the window.
“Is it far?” asked the stranger.
“A mile,” said the boy, “or perhaps two. You will see the church.”
“And is the road good—”
He did not finish.
“Good morning, my dear Watson,” said he.
“Who is there?”
“It’s only me,” whispered a voice, which was thin and far away.
"Come in, then."
"""


def test_a_conversation_is_the_speeches_of_paragraphs_that_follow_each_other() -> None:
    assert list(dialogue.extract_conversations(STORY)) == [
        ["Is it far?", "A mile, or perhaps two. You will see the church."],
        ["Who is there?", "It's only me."],
    ]


@pytest.mark.parametrize(
    ("paragraph", "speech"),
    [
        ("“I know,” said she.", "I know."),
        ("“i know!”", "I know!"),
        ("He laughed. “I know.”", ""),  # who speaks is unsure, and the reader of a dialogue did not see him laugh
        ("“I was going to—”", ""),
        ("“This goes on in the next paragraph.", ""),
        ("“" + "Very long. " * 30 + "”", ""),
        ("“Ask Mary.”", ""),
        ("“Mary, come here.”", "Mary, come here."),
        ("“I’m here. It’s late—isn’t it?”", "I'm here. It's late - isn't it?"),
        ("“...”", ""),
        ("", ""),
    ],
)
def test_a_speech_is_what_is_said_in_a_paragraph(paragraph: str, speech: str) -> None:
    assert dialogue.extract_speech(paragraph) == speech


@given(st.text(alphabet="“”\"'’ aB.,!?—\n", max_size=200))
def test_a_conversation_has_an_even_number_of_speeches_without_quotation_marks(text: str) -> None:
    for conversation in dialogue.extract_conversations(text):
        assert len(conversation) % 2 == 0 < len(conversation) <= dialogue.MAX_TURNS
        assert all(speech and "“" not in speech and "\n" not in speech for speech in conversation)


def test_documents_are_counted_over_all_files_and_messages_stay() -> None:
    message = Record("chat", "Ann", "Hello", "Ann", kind="message")
    books = [Record("a", "one", STORY), message, Record("a", "two", STORY), Record("b", "three", "No speech here.")]
    convert = dialogue.make_converter(True, frozenset([1]))
    items = [*convert(books[:2]), *convert(books[2:])]
    assert items[0] == message
    assert [(item.thread, item.who, item.text) for item in items[1:-1] if isinstance(item, Record)] == [
        ("two, 1", "You", "Is it far?"),
        ("two, 1", "Teletype", "A mile, or perhaps two. You will see the church."),
        ("two, 2", "You", "Who is there?"),
        ("two, 2", "Teletype", "It's only me."),
    ]
    assert items[-1] == SkippedItem("b", "a text without conversations")


def test_the_command_makes_a_corpus_of_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    from tools.corpus import command

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = tmp_path / "story.txt"
    path.write_text(f"{STORY}<|endoftext|>\n{STORY.replace('far', 'near')}")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = f"add {path} --name talk --dialogue --leave-out 2 --person Teletype"
    assert command.main(parser.parse_args(words.split())) == 0
    texts = [record.text for record in storage.open_kept_records("talk")]
    assert texts == ["Is it far?", "A mile, or perhaps two. You will see the church.", "Who is there?", "It's only me."]
    with pytest.raises(SystemExit):
        parser.parse_args(["add", str(path), "--name", "talk", "--leave-out", "0"])
