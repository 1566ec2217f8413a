import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.config import ConversationConfig
from daemon.conversation import Conversation, sentence_case
from daemon.errors import ConfigError
from daemon.model_factory import resolve_speakers
from model.dialogue import Speakers
from model.generate.prefix_cache import stable_prefix


def characters(prompt: str) -> int:
    return len(prompt)


@pytest.mark.parametrize(
    ("typed", "expected_text"),
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
def test_typed_capitals_become_sentence_case(typed: str, expected_text: str) -> None:
    assert sentence_case(typed) == expected_text


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x5F)))
def test_sentence_case_changes_nothing_but_case_and_escapes(typed: str) -> None:
    unescaped = re.sub(r"\\([A-Z\\])", r"\1", typed)
    assert sentence_case(typed).upper() == unescaped


@pytest.mark.parametrize("typed", ["\\", "\\ ", "\\3", "A \\. B"])
def test_a_backslash_before_a_non_letter_stays(typed: str) -> None:
    assert sentence_case(typed).upper() == typed


@given(st.text(), st.text())
def test_a_prompt_never_ends_in_a_blank(memory: str, typed: str) -> None:
    prompt = Conversation(memory).build_prompt(typed)
    assert prompt == prompt.rstrip()


def test_the_next_line_follows_the_last_answer() -> None:
    talk = Conversation()
    first = talk.build_prompt("THE TELETYPE IS")
    talk.add_answer(first, " a machine.\n")
    assert talk.build_prompt("IT PRINTS") == "The Teletype is a machine.\nIt prints"


MEMORY = "One line.\nAnother line.\nA third.\nA fourth."


def test_nothing_is_dropped_while_the_prompt_fits() -> None:
    talk = Conversation(MEMORY)
    assert talk.drop_oldest_lines("GO", characters, len(MEMORY) + 3, 10) == 0
    assert talk.build_prompt("GO") == f"{MEMORY}\nGo"


def test_a_full_context_drops_the_oldest_lines_until_half_is_left() -> None:
    talk = Conversation(MEMORY)
    assert talk.drop_oldest_lines("GO", characters, len(MEMORY) + 2, 24) == len("One line.\nAnother line.\n")
    assert talk.build_prompt("GO") == "A third.\nA fourth.\nGo"


def test_dropped_lines_stay_dropped_when_the_line_is_rubbed_out() -> None:
    talk = Conversation(MEMORY)
    talk.drop_oldest_lines("A LINE", characters, len(MEMORY) + 2, 24)
    talk.drop_oldest_lines("", characters, len(MEMORY) + 2, 24)
    assert talk.build_prompt("") == "A fourth."


def test_a_last_line_longer_than_half_the_context_stays_if_it_fits() -> None:
    talk = Conversation("Old.\nA line that is long.")
    assert talk.drop_oldest_lines("GO", characters, 25, 10) == len("Old.\n")
    assert talk.build_prompt("GO") == "A line that is long.\nGo"


def test_a_line_longer_than_the_context_is_left_to_the_model() -> None:
    talk = Conversation("Old.")
    assert talk.drop_oldest_lines("LONG", characters, 3, 2) == 4
    assert talk.build_prompt("LONG") == "Long"


@given(st.lists(st.text("ab \n.", max_size=30)), st.text("AB .", max_size=20), st.integers(1, 80), st.integers(1, 80))
def test_only_whole_lines_are_dropped_and_only_if_needed(
    lines: list[str], typed: str, max_tokens: int, tokens_to_keep: int
) -> None:
    memory = "\n".join(lines)
    talk = Conversation(memory)
    before = talk.build_prompt(typed)
    dropped = talk.drop_oldest_lines(typed, characters, max_tokens, tokens_to_keep)
    assert memory[dropped:] == talk.memory
    assert dropped == 0 or memory[dropped - 1] == "\n" or talk.memory == ""
    assert (dropped > 0) == (len(before) > max_tokens and memory != "")
    assert len(talk.build_prompt(typed)) <= max_tokens or talk.memory == ""
    assert talk.drop_oldest_lines(typed, characters, max_tokens, tokens_to_keep) == 0


def test_characters_dropped_during_an_answer_are_not_sent_again() -> None:
    talk = Conversation()
    talk.add_answer("One.\nTwo.\nThree", " four.\nFive.\n", len("One.\nTwo.\n"))
    assert talk.build_prompt("GO") == "Three four.\nFive.\nGo"


@given(st.text("AEI 'NSTG.!?\\\"3-\n", max_size=30), st.text("AEI 'NSTG.!?\\\"3-\n", max_size=9))
@example("\\", " ")
def test_the_partial_prompt_is_a_prefix_of_every_longer_one(typed: str, more: str) -> None:
    talk = Conversation("It was said.")
    assert talk.build_prompt(typed + more).startswith(stable_prefix(talk.build_prompt(typed)))


def test_clear_empties_the_memory() -> None:
    talk = Conversation("Something.")
    talk.clear()
    assert talk.build_prompt("GO") == "Go"


ANN = Speakers("Ann", "You", ("Ann", "Bob Stone"))
PEOPLE = ("Ann", "Bob Stone")


def test_the_prompt_ends_with_the_personas_tag_and_tags_the_typed_line() -> None:
    talk = Conversation(speakers=ANN)
    first = talk.build_prompt("HOW ARE YOU? I'M LATE.")
    assert first == "You: How are you? I'm late.\nAnn:"
    talk.add_answer(first, " So am I.")
    assert talk.build_prompt("WHY") == f"{first} So am I.\nYou: Why\nAnn:"
    assert talk.build_prompt("") == f"{first} So am I.\nAnn:"
    assert Conversation(speakers=ANN).build_prompt("") == "Ann:"


def test_an_answer_ends_before_any_other_speakers_tag() -> None:
    assert ANN.stop_sequences == ("\nYou:", "\nBob Stone:")
    assert Speakers().stop_sequences == ()


def test_further_lines_of_a_message_are_indented() -> None:
    assert Conversation(speakers=ANN).build_prompt("ONE\nBOB STONE: TWO") == "You: One\n  Bob stone: two\nAnn:"


@given(st.text(), st.text())
def test_a_prompt_with_a_persona_never_ends_in_a_blank(memory: str, typed: str) -> None:
    assert Conversation(memory, ANN).build_prompt(typed).endswith("Ann:")


@given(st.text("AEI 'NSTG.!?\\\"3-\n", max_size=30), st.text("AEI 'NSTG.!?\\\"3-\n", max_size=9))
@example("\\", " ")
def test_the_partial_prompt_to_a_persona_is_a_prefix_of_its_prompt(typed: str, more: str) -> None:
    talk = Conversation("You: Hi.\nAnn: Hello.", ANN)
    if typed.strip():  # an empty line has no speaker yet
        assert talk.build_prompt(typed + more).startswith(stable_prefix(talk.build_partial_prompt(typed)))


@pytest.mark.parametrize(
    ("configured", "known", "expected"),
    [
        (ConversationConfig(), PEOPLE, Speakers()),
        (ConversationConfig("ANN:"), PEOPLE, Speakers("Ann", "Bob Stone", PEOPLE)),
        (ConversationConfig("bob stone"), PEOPLE, Speakers("Bob Stone", "Ann", PEOPLE)),
        (ConversationConfig("Ann", you="You"), PEOPLE, ANN),
        (ConversationConfig("", you="Ann"), PEOPLE, Speakers(you="Ann")),
        (ConversationConfig("ann", you="BOB STONE"), PEOPLE, Speakers("Ann", "Bob Stone", PEOPLE)),
        (ConversationConfig("Zoe "), (), Speakers("Zoe")),
    ],
)
def test_speakers_are_found_in_any_case(
    configured: ConversationConfig, known: tuple[str, ...], expected: Speakers
) -> None:
    assert resolve_speakers(configured, known) == expected


def test_an_unknown_persona_gives_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^\[conversation\] persona = 'Anne': .* did you mean 'Ann'\?$"):
        resolve_speakers(ConversationConfig("Anne"), PEOPLE)
    with pytest.raises(ConfigError, match=r"it knows Ann, Bob Stone$"):
        resolve_speakers(ConversationConfig("Zoe"), PEOPLE)
