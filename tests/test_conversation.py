import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.conversation import Conversation, sentence_case


def anything_fits(prompt: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("THE TELETYPE IS", "The Teletype is"),
        ("WHO IS ADA LOVELACE?", "Who is Ada Lovelace?"),
        ("STOP. GO ON! WHY? BECAUSE", "Stop. Go on! Why? Because"),
        ("I THINK I'M LATE, SAID I.", "I think I'm late, said I."),
        ("DON'T", "Don't"),
        (r"THE \UNIX SYSTEM", "The Unix system"),
        (r"\U\N\I\X", "UNIX"),
        (r"A \\ IS A BACKSLASH", "A \\ is a backslash"),
        ('"YES," HE SAID. "NO."', '"Yes," he said. "No."'),
        ("3.14 IS PI", "3.14 is pi"),
        ("2 AND 3", "2 and 3"),
        ("ONE\nTWO", "One\nTwo"),
        ("", ""),
        ("\\", "\\"),
    ],
)
def test_typed_capitals_become_sentence_case(typed: str, meant: str) -> None:
    assert sentence_case(typed) == meant


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x5F)))
def test_sentence_case_changes_nothing_but_case_and_escapes(typed: str) -> None:
    unescaped = []
    characters = iter(typed)
    for character in characters:
        unescaped.append(next(characters, "\\") if character == "\\" else character)
    assert sentence_case(typed).upper() == "".join(unescaped)


@given(st.text(), st.text())
def test_a_prompt_never_ends_in_a_blank(memory: str, typed: str) -> None:
    prompt = Conversation(memory).prompt(typed, anything_fits)
    assert prompt == prompt.rstrip()


def test_the_next_line_goes_below_what_was_answered() -> None:
    talk = Conversation()
    first = talk.prompt("THE TELETYPE IS", anything_fits)
    talk.answered(first, " a machine.\n")
    assert talk.prompt("IT PRINTS", anything_fits) == "The Teletype is a machine.\nIt prints"


def test_the_oldest_whole_lines_go_when_the_context_is_full() -> None:
    talk = Conversation("One line.\nAnother line.\nA third.")
    assert talk.prompt("GO", lambda prompt: len(prompt) <= 24) == "Another line.\nA third.\nGo"[14:]


def test_a_line_that_never_fits_is_left_whole_for_the_model_to_refuse() -> None:
    assert Conversation("Old.").prompt("LONG", lambda prompt: False) == "Long"


def test_new_forgets() -> None:
    talk = Conversation("Something.")
    talk.forget()
    assert talk.prompt("GO", anything_fits) == "Go"
