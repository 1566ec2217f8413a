from __future__ import annotations

import pytest
from fakes_model import TINY, Script, tiny_weights, words

from model import graph
from model.base import Sampling
from model.errors import PromptTooLong
from model.loop import CHUNK, ROOM, generate
from model.session import Session

GREEDY = Sampling(temperature=0, repetition_penalty=1.0)


def said(script: Script, sampling: Sampling = GREEDY, prompt: int = 3) -> tuple[str, str | None]:
    steps = list(generate(script, [script.end_of_text, *[65] * (prompt - 1)], sampling, script))
    assert [step.finish for step in steps[:-1]] == [None] * (len(steps) - 1)
    return "".join(step.text for step in steps), steps[-1].finish


def test_it_says_what_the_model_says_until_the_end_of_text() -> None:
    assert said(Script("Hello, “you”.")) == ("Hello, “you”.", "end")


@pytest.mark.parametrize(
    ("sampling", "answer"),
    [
        (Sampling(temperature=0, repetition_penalty=1.0, max_tokens=3), ("One", "length")),
        (Sampling(temperature=0, repetition_penalty=1.0, stop=("wo",)), ("One. T", "stop")),
        (Sampling(temperature=0, repetition_penalty=1.0, length=2), ("One.", "sentence")),
        (Sampling(temperature=0, repetition_penalty=1.0, length=200), ("One. Two.", "end")),
    ],
)
def test_it_ends_where_the_sampling_says(sampling: Sampling, answer: tuple[str, str]) -> None:
    assert said(Script("One. Two."), sampling) == answer


def test_what_was_held_back_comes_out_when_the_tokens_are_spent() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, stop=("Two!",))
    assert said(Script("A Two? B"), sampling) == ("A Two", "length")


def test_a_sentence_that_the_last_token_ends_is_a_sentence() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, length=2)
    assert said(Script("One. Two"), sampling) == ("One.", "sentence")


def test_prompt_and_answer_together_fill_the_context_and_no_more() -> None:
    assert said(Script("x" * 100, context=40), prompt=20) == ("x" * 20, "context")
    assert said(Script("x" * 100, context=ROOM + 5), prompt=5) == ("x" * ROOM, "context")


def test_a_prompt_that_leaves_no_room_is_refused_before_any_work() -> None:
    script = Script("x", context=100)
    with pytest.raises(PromptTooLong, match=r"85 tokens, the model takes 84 \(100 less 16 .*shorten it by 1$"):
        said(script, prompt=85)
    assert script.passes == 0


def test_a_long_prompt_is_read_in_chunks_and_each_is_a_step() -> None:
    script = Script("x")
    steps = generate(script, [65] * (2 * CHUNK + 1), GREEDY, script)
    for passes in (1, 2):
        assert next(steps).text == ""
        assert script.passes == passes
    assert next(steps).text == "x"
    assert script.passes == 3
    assert script.seen == [65] * (2 * CHUNK + 1)


def test_the_last_token_is_not_computed_with() -> None:
    script = Script("abc")
    assert said(script) == ("abc", "end")
    assert script.passes == 1 + 3


def test_tokens_of_the_steps_are_all_that_were_drawn() -> None:
    script = Script("a“b")
    steps = list(generate(script, [script.end_of_text], GREEDY, script))
    assert [token for step in steps for token in step.tokens] == [*"a“b".encode(), script.end_of_text]
    assert [step.text for step in steps] == ["a", "", "", "“", "b", ""]


def tiny_ids(prompt: list[int], sampling: Sampling) -> list[int]:
    session = Session(graph.build(tiny_weights(), TINY, "float32"), threads=1)
    return [token for step in generate(session, prompt, sampling, words()) for token in step.tokens]


def test_a_text_cut_anywhere_goes_on_from_its_ids_as_it_would_have() -> None:
    prompt, sampling = [words().end_of_text, 70, 80], Sampling(top_k=0, temperature=1.5, seed=5)
    whole = tiny_ids(prompt, sampling)
    assert len(whole) > 20
    for place in (1, 2, 9, 20):
        assert tiny_ids(prompt + whole[:place], sampling) == whole[place:]


def test_another_seed_is_another_text() -> None:
    prompt = [words().end_of_text, 70, 80]
    texts = {tuple(tiny_ids(prompt, Sampling(seed=seed, temperature=1.5))) for seed in range(5)}
    assert len(texts) == 5


def test_a_second_text_knows_nothing_of_the_first() -> None:
    session = Session(graph.build(tiny_weights(), TINY, "float32"), threads=1)
    first, second = [words().end_of_text, 70], [words().end_of_text, 90, 91, 92]
    alone = tiny_ids(second, Sampling())
    list(generate(session, first, Sampling(), words()))
    assert [t for step in generate(session, second, Sampling(), words()) for t in step.tokens] == alone
