from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes_model import TINY, Floats, ScriptedSession, tiny_tokenizer, tiny_weights

from model.build import graph
from model.errors import PromptTooLong
from model.generate.generate import generate
from model.generate.prefix_cache import PREFILL_CHUNK, PrefixCache
from model.generate.sampling import choose_token
from model.generate.token_mask import TokenMask
from model.interface import Sampling
from model.onnx.session import OnnxSession

GREEDY = Sampling(temperature=0, repetition_penalty=1.0)


def said(script: ScriptedSession, sampling: Sampling = GREEDY, prompt: int = 3) -> tuple[str, str | None]:
    steps = list(generate(script, [script.end_of_text, *[65] * (prompt - 1)], sampling, script))
    assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
    return "".join(step.text for step in steps), steps[-1].finish_reason


def test_it_says_what_the_model_says_until_the_end_of_text() -> None:
    assert said(ScriptedSession("Hello, “you”.")) == ("Hello, “you”.", "end")


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
    assert said(ScriptedSession("One. Two."), sampling) == answer


def test_what_was_held_back_comes_out_when_the_tokens_are_spent() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, stop=("Two!",))
    assert said(ScriptedSession("A Two? B"), sampling) == ("A Two", "length")


def test_a_sentence_that_the_last_token_ends_is_a_sentence() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, length=2)
    assert said(ScriptedSession("One. Two"), sampling) == ("One.", "sentence")


def test_a_prompt_that_leaves_no_room_is_refused_before_any_work() -> None:
    script = ScriptedSession("x", context=100)
    with pytest.raises(PromptTooLong, match=r"85 tokens, the model takes 84 \(100 less 16 .*shorten it by 1$"):
        said(script, prompt=85)
    assert script.passes == 0


def test_a_long_prompt_is_read_in_chunks_and_each_is_a_step() -> None:
    script = ScriptedSession("x")
    steps = generate(script, [65] * (2 * PREFILL_CHUNK + 1), GREEDY, script)
    for passes in (1, 2):
        assert next(steps).text == ""
        assert script.passes == passes
    assert next(steps).text == "x"
    assert script.passes == 3
    assert script.seen == [65] * (2 * PREFILL_CHUNK + 1)


def test_the_last_token_is_not_computed_with() -> None:
    script = ScriptedSession("abc")
    assert said(script) == ("abc", "end")
    assert script.passes == 1 + 3


def test_tokens_of_the_steps_are_all_that_were_drawn() -> None:
    script = ScriptedSession("a“b")
    steps = list(generate(script, [script.end_of_text], GREEDY, script))
    assert [token for step in steps for token in step.tokens] == [*"a“b".encode(), script.end_of_text]
    assert [step.text for step in steps] == ["a", "", "", "“", "b", ""]


def tiny_session() -> OnnxSession:
    return OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)


def tiny_ids(prompt: list[int], sampling: Sampling, said: Sequence[int] = ()) -> list[int]:
    steps = generate(tiny_session(), prompt, sampling, tiny_tokenizer(), resume_tokens=said)
    return [token for step in steps for token in step.tokens]


WILD = Sampling(top_k=20, temperature=1.5, seed=5, max_tokens=30, repetition_penalty=1.2, no_repeat_ngram=3)


@pytest.mark.parametrize("tokens", [30, 110], ids=["in one context", "while the context rolls"])
def test_a_text_cut_after_any_token_goes_on_from_its_ids_as_it_would_have(tokens: int) -> None:
    prompt, sampling = (
        [tiny_tokenizer().end_of_text, *tiny_tokenizer().encode("The operator sat")],
        replace(WILD, max_tokens=tokens),
    )
    cache = PrefixCache(tiny_session())
    steps = list(generate(cache, prompt, sampling, tiny_tokenizer()))
    whole = [token for step in steps for token in step.tokens]
    assert len(whole) == tokens
    assert any(step.dropped_chars for step in steps) == (len(prompt) + tokens > TINY.n_positions)
    for place in range(tokens):
        rest = generate(cache, prompt, sampling, tiny_tokenizer(), resume_tokens=whole[:place])
        assert [token for step in rest for token in step.tokens] == whole[place:]
        if place % 10 == 0:
            assert tiny_ids(prompt, sampling, whole[:place]) == whole[place:], "the cache was of use, and of harm"


def test_the_draw_of_a_token_does_not_know_what_stands_in_the_cache_of_others() -> None:
    prompt, cache = [tiny_tokenizer().end_of_text, 70, 80], PrefixCache(tiny_session())
    alone = tiny_ids(prompt, WILD)
    for inside in (
        [tiny_tokenizer().end_of_text],
        [tiny_tokenizer().end_of_text, 70],
        prompt,
        [*prompt, *alone],
        [*prompt, 5],
        [90],
    ):
        cache.prefill_chunk(inside)
        assert [token for step in generate(cache, prompt, WILD, tiny_tokenizer()) for token in step.tokens] == alone


class Counting(ScriptedSession):
    """Says the letters after the one it saw last, and after every seventh of them a new line."""

    def forward(self, ids: Sequence[int]) -> Floats:
        logits = super().forward(ids)
        logits[:] = 0.0
        last = self.seen[-1]
        line = bytes(self.seen[-7:]).find(b"\n") < 0 if last < 256 and self.length > 7 else False
        logits[ord("\n") if line else 97 + (last + 1) % 26] = 9.0
        return logits


def test_a_full_context_gives_up_its_oldest_lines_and_the_answer_goes_on() -> None:
    script = Counting("", context=4 * PREFILL_CHUNK)
    sampling = replace(GREEDY, max_tokens=6 * PREFILL_CHUNK)
    steps = list(generate(script, [script.end_of_text, *b"One\n"], sampling, script))
    text = "One\n" + "".join(step.text for step in steps)
    rolls = [step.dropped_chars for step in steps if step.dropped_chars]
    assert len(rolls) == 2
    assert steps[-1].finish_reason == "length"
    assert len(text) == 6 * PREFILL_CHUNK + 4
    gone = sum(rolls)
    assert text[gone - 1] == "\n"
    assert bytes(script.seen[1:]).decode() == text[gone:-1]
    assert script.seen[0] == script.end_of_text


def test_what_is_left_when_the_context_rolls_is_read_in_chunks_and_each_is_a_step() -> None:
    script = Counting("", context=6 * PREFILL_CHUNK)
    prompt = [script.end_of_text, *b"One\n"]
    steps = generate(script, prompt, replace(GREEDY, max_tokens=7 * PREFILL_CHUNK), script)
    for step in steps:
        before = script.passes
        if step.dropped_chars:
            break
    assert script.passes == before, "the paper was kept waiting for the roll itself"
    script.counts.clear()
    while not next(steps).tokens:
        assert script.counts[-1] == PREFILL_CHUNK
        assert len(script.counts) == script.passes - before
    assert script.length == 1 + sum(script.counts)
    assert 2 * PREFILL_CHUNK < script.length < 4 * PREFILL_CHUNK
    assert next(steps).tokens
    assert script.counts[-1] == 1


def test_a_context_rolls_only_when_another_token_is_wanted() -> None:
    for said, rolls in ((20, 0), (21, 1)):
        script = ScriptedSession("x" * said, context=40)
        sampling = replace(GREEDY, max_tokens=said + 1)
        steps = list(generate(script, [script.end_of_text, *b"y" * 19], sampling, script))
        assert sum(step.dropped_chars > 0 for step in steps) == rolls


def test_the_chance_of_a_token_is_that_of_its_place_in_the_whole_text() -> None:
    class Flat(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            super().forward(ids)
            return np.zeros(256, np.float32)

    script, sampling = Flat("", context=40), Sampling(1.0, top_k=0, repetition_penalty=1.0, seed=9, max_tokens=100)
    steps = list(generate(script, [script.end_of_text, *b"Hi"], sampling, script))
    drawn = [token for step in steps for token in step.tokens]
    assert drawn == [choose_token(np.zeros(256, np.float32), sampling, 3 + place) for place in range(100)]


def test_what_two_prompts_begin_with_is_read_once() -> None:
    script = ScriptedSession("abc")
    cache = PrefixCache(script)
    list(generate(cache, [script.end_of_text, *b"One. Two"], GREEDY, script))
    script.counts.clear()
    list(generate(cache, [script.end_of_text, *b"One. Twoabcd. Three"], GREEDY, script))
    assert script.counts == [len("d. Three"), 1, 1, 1]
    assert bytes(script.seen[1:]) == b"One. Twoabcd. Threeabc"


def test_the_same_prompt_again_costs_one_pass_of_one_token() -> None:
    script = ScriptedSession("a")
    cache = PrefixCache(script)
    for _ in range(2):
        list(generate(cache, [script.end_of_text, *b"x" * 500], GREEDY, script))
    assert script.counts[-2:] == [1, 1]


class Endless(ScriptedSession):
    def forward(self, ids: Sequence[int]) -> Floats:
        logits = super().forward(ids)
        logits[self.end_of_text] = -1e9
        return logits


def test_what_the_mask_forbids_is_not_said_also_behind_a_cut() -> None:
    mask = TokenMask([*(bytes([n]) for n in range(256)), b""], 256, lambda char: char in "ab“”")
    script = Endless("")
    sampling = Sampling(temperature=100, top_k=0, max_tokens=200, seed=3)
    tokens = [t for step in generate(script, [256, *b"Hi"], sampling, script, mask=mask) for t in step.tokens]
    assert set(bytes(tokens).decode("utf-8", "ignore")) == set("ab“”")
    for place in range(1, 12):
        rest = generate(script, [256, *b"Hi"], sampling, script, resume_tokens=tokens[:place], mask=mask)
        assert [t for step in rest for t in step.tokens] == tokens[place:]


def test_each_token_has_its_probability_where_that_is_asked() -> None:
    sampling = replace(WILD, logprobs=True)
    steps = list(generate(tiny_session(), [tiny_tokenizer().end_of_text, 70, 80], sampling, tiny_tokenizer()))
    assert all(len(step.logprobs) == len(step.tokens) for step in steps)
    assert all(number < 0 for step in steps for number in step.logprobs)


def test_another_seed_is_another_text() -> None:
    prompt = [tiny_tokenizer().end_of_text, 70, 80]
    texts = {tuple(tiny_ids(prompt, Sampling(seed=seed, temperature=1.5))) for seed in range(5)}
    assert len(texts) == 5


def test_a_second_text_knows_nothing_of_the_first() -> None:
    session = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)
    first, second = [tiny_tokenizer().end_of_text, 70], [tiny_tokenizer().end_of_text, 90, 91, 92]
    alone = tiny_ids(second, Sampling())
    list(generate(session, first, Sampling(), tiny_tokenizer()))
    assert [t for step in generate(session, second, Sampling(), tiny_tokenizer()) for t in step.tokens] == alone
