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


def run_script(script: ScriptedSession, sampling: Sampling = GREEDY, prompt: int = 3) -> tuple[str, str | None]:
    steps = list(generate(script, [script.end_of_text, *[65] * (prompt - 1)], sampling, script))
    assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
    return "".join(step.text for step in steps), steps[-1].finish_reason


def test_the_text_continues_until_the_end_of_text() -> None:
    assert run_script(ScriptedSession("Hello, “you”.")) == ("Hello, “you”.", "end")


@pytest.mark.parametrize(
    ("sampling", "answer"),
    [
        (Sampling(temperature=0, repetition_penalty=1.0, max_tokens=3), ("One", "length")),
        (Sampling(temperature=0, repetition_penalty=1.0, stop=("wo",)), ("One. T", "stop")),
        (Sampling(temperature=0, repetition_penalty=1.0, length=2), ("One.", "sentence")),
        (Sampling(temperature=0, repetition_penalty=1.0, length=200), ("One. Two.", "end")),
    ],
)
def test_the_answer_ends_where_the_sampling_parameters_say(sampling: Sampling, answer: tuple[str, str]) -> None:
    assert run_script(ScriptedSession("One. Two."), sampling) == answer


def test_undecided_characters_are_flushed_at_the_token_limit() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, stop=("Two!",))
    assert run_script(ScriptedSession("A Two? B"), sampling) == ("A Two", "length")


def test_a_sentence_end_at_the_token_limit_is_the_finish_reason() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=5, length=2)
    assert run_script(ScriptedSession("One. Two"), sampling) == ("One.", "sentence")


def test_a_prompt_without_room_for_an_answer_is_refused_before_any_pass() -> None:
    script = ScriptedSession("x", context=100)
    with pytest.raises(PromptTooLong, match=r"85 tokens, the model takes 84 \(100 less 16 .*shorten it by 1$"):
        run_script(script, prompt=85)
    assert script.passes == 0


def test_a_long_prompt_is_prefilled_in_chunks_of_one_step_each() -> None:
    script = ScriptedSession("x")
    steps = generate(script, [65] * (2 * PREFILL_CHUNK + 1), GREEDY, script)
    for passes in (1, 2):
        assert next(steps).text == ""
        assert script.passes == passes
    assert next(steps).text == "x"
    assert script.passes == 3
    assert script.cached_ids == [65] * (2 * PREFILL_CHUNK + 1)


def test_the_last_token_is_not_computed() -> None:
    script = ScriptedSession("abc")
    assert run_script(script) == ("abc", "end")
    assert script.passes == 1 + 3


def test_the_steps_contain_every_sampled_token() -> None:
    script = ScriptedSession("a“b")
    steps = list(generate(script, [script.end_of_text], GREEDY, script))
    assert [token for step in steps for token in step.tokens] == [*"a“b".encode(), script.end_of_text]
    assert [step.text for step in steps] == ["a", "", "", "“", "b", ""]


def tiny_session() -> OnnxSession:
    return OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)


def tiny_ids(prompt: list[int], sampling: Sampling, resume_tokens: Sequence[int] = ()) -> list[int]:
    steps = generate(tiny_session(), prompt, sampling, tiny_tokenizer(), resume_tokens=resume_tokens)
    return [token for step in steps for token in step.tokens]


WILD = Sampling(top_k=20, temperature=1.5, seed=5, max_tokens=30, repetition_penalty=1.2, no_repeat_ngram=3)


@pytest.mark.parametrize("tokens", [30, 110], ids=["in one context", "with dropped lines"])
def test_an_answer_interrupted_after_any_token_resumes_unchanged(tokens: int) -> None:
    prompt = [tiny_tokenizer().end_of_text, *tiny_tokenizer().encode("The operator sat")]
    sampling = replace(WILD, max_tokens=tokens)
    cache = PrefixCache(tiny_session())
    steps = list(generate(cache, prompt, sampling, tiny_tokenizer()))
    whole = [token for step in steps for token in step.tokens]
    assert len(whole) == tokens
    assert any(step.dropped_chars for step in steps) == (len(prompt) + tokens > TINY.n_positions)
    for index in range(tokens):
        resumed = generate(cache, prompt, sampling, tiny_tokenizer(), resume_tokens=whole[:index])
        assert [token for step in resumed for token in step.tokens] == whole[index:]
        if index % 10 == 0:
            assert tiny_ids(prompt, sampling, whole[:index]) == whole[index:], "the cache changed the answer"


def test_sampling_does_not_depend_on_the_cache_of_other_texts() -> None:
    prompt, cache = [tiny_tokenizer().end_of_text, 70, 80], PrefixCache(tiny_session())
    alone = tiny_ids(prompt, WILD)
    for cached in (prompt[:1], prompt[:2], prompt, [*prompt, *alone], [*prompt, 5], [90]):
        cache.prefill_chunk(cached)
        assert [token for step in generate(cache, prompt, WILD, tiny_tokenizer()) for token in step.tokens] == alone


class AlphabetSession(ScriptedSession):
    """Continues the alphabet after the last letter, with a line feed after every seventh."""

    def forward(self, ids: Sequence[int]) -> Floats:
        logits = super().forward(ids)
        logits[:] = 0.0
        last = self.cached_ids[-1]
        needs_line_feed = last < 256 and self.length > 7 and b"\n" not in bytes(self.cached_ids[-7:])
        logits[ord("\n") if needs_line_feed else 97 + (last + 1) % 26] = 9.0
        return logits


def test_a_full_context_drops_its_oldest_lines_and_the_answer_continues() -> None:
    script = AlphabetSession("", context=4 * PREFILL_CHUNK)
    sampling = replace(GREEDY, max_tokens=6 * PREFILL_CHUNK)
    steps = list(generate(script, [script.end_of_text, *b"One\n"], sampling, script))
    text = "One\n" + "".join(step.text for step in steps)
    drops = [step.dropped_chars for step in steps if step.dropped_chars]
    assert len(drops) == 2
    assert steps[-1].finish_reason == "length"
    assert len(text) == 6 * PREFILL_CHUNK + 4
    dropped = sum(drops)
    assert text[dropped - 1] == "\n"
    assert bytes(script.cached_ids[1:]).decode() == text[dropped:-1]
    assert script.cached_ids[0] == script.end_of_text


def test_after_dropping_lines_the_rest_is_prefilled_in_chunks_of_one_step_each() -> None:
    script = AlphabetSession("", context=6 * PREFILL_CHUNK)
    prompt = [script.end_of_text, *b"One\n"]
    steps = generate(script, prompt, replace(GREEDY, max_tokens=7 * PREFILL_CHUNK), script)
    for step in steps:
        before = script.passes
        if step.dropped_chars:
            break
    assert script.passes == before, "dropping lines delayed the step"
    script.pass_sizes.clear()
    while not next(steps).tokens:
        assert script.pass_sizes[-1] == PREFILL_CHUNK
        assert len(script.pass_sizes) == script.passes - before
    assert script.length == 1 + sum(script.pass_sizes)
    assert 2 * PREFILL_CHUNK < script.length < 4 * PREFILL_CHUNK
    assert next(steps).tokens
    assert script.pass_sizes[-1] == 1


def test_lines_are_dropped_only_when_another_token_is_needed() -> None:
    for length, drops in ((20, 0), (21, 1)):
        script = ScriptedSession("x" * length, context=40)
        sampling = replace(GREEDY, max_tokens=length + 1)
        steps = list(generate(script, [script.end_of_text, *b"y" * 19], sampling, script))
        assert sum(step.dropped_chars > 0 for step in steps) == drops


def test_the_random_number_of_a_token_depends_on_its_position_in_the_whole_text() -> None:
    class Flat(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            super().forward(ids)
            return np.zeros(256, np.float32)

    script = Flat("", context=40)
    sampling = Sampling(temperature=1.0, top_k=0, repetition_penalty=1.0, seed=9, max_tokens=100)
    steps = list(generate(script, [script.end_of_text, *b"Hi"], sampling, script))
    sampled = [token for step in steps for token in step.tokens]
    assert sampled == [choose_token(np.zeros(256, np.float32), sampling, 3 + index) for index in range(100)]


def test_a_common_prefix_of_two_prompts_is_computed_once() -> None:
    script = ScriptedSession("abc")
    cache = PrefixCache(script)
    list(generate(cache, [script.end_of_text, *b"One. Two"], GREEDY, script))
    script.pass_sizes.clear()
    list(generate(cache, [script.end_of_text, *b"One. Twoabcd. Three"], GREEDY, script))
    assert script.pass_sizes == [len("d. Three"), 1, 1, 1]
    assert bytes(script.cached_ids[1:]) == b"One. Twoabcd. Threeabc"


def test_the_same_prompt_again_costs_one_pass_of_one_token() -> None:
    script = ScriptedSession("a")
    cache = PrefixCache(script)
    for _ in range(2):
        list(generate(cache, [script.end_of_text, *b"x" * 500], GREEDY, script))
    assert script.pass_sizes[-2:] == [1, 1]


class EndlessSession(ScriptedSession):
    def forward(self, ids: Sequence[int]) -> Floats:
        logits = super().forward(ids)
        logits[self.end_of_text] = -1e9
        return logits


def test_the_mask_holds_also_after_resuming() -> None:
    mask = TokenMask([*(bytes([n]) for n in range(256)), b""], 256, lambda char: char in "ab“”")
    script = EndlessSession("")
    sampling = Sampling(temperature=100, top_k=0, max_tokens=200, seed=3)
    tokens = [t for step in generate(script, [256, *b"Hi"], sampling, script, mask=mask) for t in step.tokens]
    assert set(bytes(tokens).decode("utf-8", "ignore")) == set("ab“”")
    for index in range(1, 12):
        resumed = generate(script, [256, *b"Hi"], sampling, script, resume_tokens=tokens[:index], mask=mask)
        assert [t for step in resumed for t in step.tokens] == tokens[index:]


def test_each_token_has_its_logprob_if_requested() -> None:
    sampling = replace(WILD, logprobs=True)
    steps = list(generate(tiny_session(), [tiny_tokenizer().end_of_text, 70, 80], sampling, tiny_tokenizer()))
    assert all(len(step.logprobs) == len(step.tokens) for step in steps)
    assert all(number < 0 for step in steps for number in step.logprobs)


def test_another_seed_gives_another_text() -> None:
    prompt = [tiny_tokenizer().end_of_text, 70, 80]
    texts = {tuple(tiny_ids(prompt, Sampling(seed=seed, temperature=1.5))) for seed in range(5)}
    assert len(texts) == 5


def test_a_second_text_does_not_depend_on_the_first() -> None:
    session = tiny_session()
    first, second = [tiny_tokenizer().end_of_text, 70], [tiny_tokenizer().end_of_text, 90, 91, 92]
    alone = tiny_ids(second, Sampling())
    list(generate(session, first, Sampling(), tiny_tokenizer()))
    assert [t for step in generate(session, second, Sampling(), tiny_tokenizer()) for t in step.tokens] == alone
