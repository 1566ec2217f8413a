"""The first characters of an answer on a new line of the paper: never the rest of a word, never a comma."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from fakes_daemon import DaemonBench, ScriptedModel
from fakes_model import ScriptedSession
from fakes_teletype import TeletypeBench, on_jumping_loop, run_jumping
from hypothesis import given
from hypothesis import strategies as st

from daemon.conversation import Conversation
from daemon.exchange import exchange
from drivers.text.charset import is_printable
from model.client.partial_answer import PartialAnswer
from model.dialogue import Speakers
from model.generate.generate import generate
from model.generate.local_model import LocalModel
from model.generate.opening_mask import OpeningMask
from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, Opening, Sampling
from model.openai_api.fields import InvalidRequest
from model.openai_api.request import OpenAIRequest
from model.opening import OpeningTrimmer, choose_opening, ends_sentence, judge_opening
from model.server.engine.sequence import BatchSequence
from model.store import store

VISITORS = ["HELLO", "WHO ARE YOU", "MY NAME IS BOB", "TELL ME ABOUT THE PRINT", "WHEN THE BELL RANG", 'HE SAID "YES."']


@pytest.mark.parametrize(
    ("typed", "opening"),
    [
        ("Hello", "new word"),
        ("The bell rang.", "new word"),
        ("Is it 5", "new word"),
        ("He said (softly)", "new word"),
        ('He said "yes."', "new word"),
        ("The print's", "new word"),
        ('He said "', "word"),
        ("Twenty-", "word"),
        ("2 + 2 =", "word"),
        ("(", "word"),
        ("'", "word"),
    ],
)
def test_return_ends_a_word_and_an_open_mark_waits_for_one(typed: str, opening: Opening) -> None:
    assert choose_opening(typed) == opening


@pytest.mark.parametrize("text", ["It rang.", "Did it?", 'He said "yes."', "(It rang!)", "So it goes…", "It rang.\n"])
def test_a_sentence_ends_with_its_mark_and_closing_quotes(text: str) -> None:
    assert ends_sentence(text)
    assert not ends_sentence(text.strip(' .?!…"\n)'))


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (" The bell rang.", " The bell rang."),
        ("The bell rang.", "The bell rang."),  # a server that drops the first blank
        ("\nThe bell", "\nThe bell"),
        ("ing of the bell", " of the bell"),
        ("'s bell rang", " bell rang"),
        (", said the bell", " said the bell"),
        (" , said the bell", " said the bell"),
        ("ing, and the bell", " and the bell"),
        ('" said the bell', " said the bell"),
        ('"Yes," said the bell', '"Yes," said the bell'),
        (' "Yes," said the bell', ' "Yes," said the bell'),
        (".\n\nThe bell", "\n\nThe bell"),
        ("... and so", " and so"),
        (",the bell", " the bell"),
        ("”\nThe bell", "\nThe bell"),
        ("14 bells", " bells"),  # after `3.`
        ("yes", "yes"),  # the whole answer: it is not lost
        (",", ""),
        ("", ""),
    ],
)
def test_after_a_sentence_no_answer_begins_in_mid_word_or_with_a_comma(answer: str, printed: str) -> None:
    for size in (1, 2, 100):
        trimmer = OpeningTrimmer("new word", is_new_sentence=True)
        pieces = [trimmer.feed(answer[at : at + size]) for at in range(0, len(answer), size)]
        assert "".join(pieces) + trimmer.flush() == printed


@given(st.text("aB1 ,.'\"\n-(", max_size=12), st.integers(0, 12))
def test_a_trimmed_answer_is_the_end_of_the_answer_wherever_it_is_cut(answer: str, cut: int) -> None:
    trimmer = OpeningTrimmer("new word")
    text = trimmer.feed(answer[:cut]) + trimmer.feed(answer[cut:]) + trimmer.flush()
    assert answer.endswith(text.lstrip())
    assert text.strip()[:1] not in tuple(",.") or not text.strip()
    if not text.strip():
        assert not any(map(str.isalnum, answer.split(maxsplit=1)[-1:] or ""))


def test_a_text_without_a_blank_is_not_held_for_ever() -> None:
    trimmer = OpeningTrimmer("new word")
    assert "".join(trimmer.feed("a") for _ in range(1000)) == "a" * 1000
    assert OpeningTrimmer("new word").feed("ing " + "a " * 1000) == " " + "a " * 1000
    assert len(OpeningTrimmer("new word").feed("," * 10**6)) == 10**6


@given(st.text(max_size=20))
def test_the_rest_of_an_unfinished_sentence_is_kept_whole(answer: str) -> None:
    trimmer = OpeningTrimmer("new word", is_new_sentence=False)
    assert trimmer.feed(answer) + trimmer.flush() == answer


def test_a_message_may_begin_with_marks_but_not_with_a_comma() -> None:
    for answer, printed in ((" :)", " :)"), ("yeah", "yeah"), (" ...", " ..."), (" , so", " so")):
        trimmer = OpeningTrimmer("message", is_new_sentence=False)
        assert trimmer.feed(answer) + trimmer.flush() == printed


@pytest.mark.parametrize(
    ("typed", "words", "paper"),
    [
        ("THE BELL RANG.", ["ing", " of", " it"], "OF IT"),
        ("THE BELL RANG.", [",", " he", " rose."], "HE ROSE."),
        ("WHEN THE BELL RANG", [",", " he", " rose."], ", HE ROSE."),
        ("THE TELETY", ["pe", " is", " here."], "PE IS HERE."),
    ],
)
def test_the_paper_and_the_memory_agree(tmp_path: Path, typed: str, words: list[str], paper: str) -> None:
    async def main() -> None:
        model = ScriptedModel(words)
        daemon = DaemonBench(tmp_path, model)
        await daemon.type(typed)
        await daemon.session.listening.wait()
        assert daemon.paper.split(f"{typed}\n")[1].split("READY")[0].strip() == paper
        await daemon.type("AGAIN")
        assert model.last_prompt.upper().split("\n")[0].endswith(paper)
        daemon.running.cancel()

    run_jumping(main())


def test_an_answer_of_the_embedded_model_begins_with_a_new_word() -> None:
    async def main() -> list[str]:
        model = LocalModel(store.find_model("embedded"), is_allowed=lambda char: is_printable(char, "1968"))
        starts = []
        for line in VISITORS:
            opening, prompt = Conversation().choose_opening(line), Conversation().build_prompt(line)
            for seed in range(5):
                sampling = Sampling(seed=seed, max_tokens=3, opening=opening)
                starts.append("".join([chunk.text async for chunk in model.stream(prompt, sampling)]))
        await model.close()
        return starts

    starts = asyncio.run(main())
    assert len(starts) == 5 * len(VISITORS)
    assert [text for text in starts if text.strip() and not judge_opening(text, "new word")] == []


VOCABULARY = [
    b" i",
    b"ing",
    b",",
    b" ",
    b"\n",
    b" ,",
    b" the",
    b" \xe2\x80",
    b"\x9c",
    b"\x9d",
    b"the",
    b" (",
    b"",
    b"-",
]
END = VOCABULARY.index(b"")


class ListedVocabulary:
    end_of_text, max_token_bytes = END, 4

    def bytes_of(self, token: int) -> bytes:
        return VOCABULARY[token]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")


def allowed(lead: bytes, opening: Opening) -> list[bytes]:
    forbidden = OpeningMask(VOCABULARY, END).forbidden(lead, opening).tolist()
    return [data for token, data in enumerate(VOCABULARY) if token not in forbidden and token != END]


def test_the_tokens_that_may_begin_an_answer() -> None:
    assert allowed(b"", "new word") == [b" i", b" ", b"\n", b" the", b" \xe2\x80", b" ("]
    assert b"ing" not in allowed(b" ", "new word")  # ` i` is a token: so `ing` alone is the rest of a word
    assert b" the" in allowed(b" ", "new word")
    assert b"the" in allowed(b"\n", "new word")
    assert b"," not in allowed(b"\n", "new word")
    assert b"\x9c" in allowed(b" \xe2\x80", "new word")  # an opening quote
    assert b"\x9d" not in allowed(b" \xe2\x80", "new word")  # a closing one
    assert b"ing" in allowed(b"", "word")
    assert b"," not in allowed(b"", "word")


@pytest.mark.parametrize("wanted", ["ing", ", and", "'s", "”", " , so"])
def test_an_answer_whose_model_wants_another_start_gets_a_new_word(wanted: str) -> None:
    script = ScriptedSession(wanted)
    mask = TokenMask([bytes([code]) for code in range(256)] + [b""], script.end_of_text, lambda char: True)
    greedy = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=9)
    for opening in get_args(Opening):
        steps = generate(script, [script.end_of_text, 65], replace(greedy, opening=opening), script, mask=mask)
        text = "".join(step.text for step in steps)
        assert judge_opening(text, opening) is not False
        assert (text == wanted) == (judge_opening(wanted, opening) is not False)


def test_a_vocabulary_without_blanks_is_not_constrained() -> None:
    script = ScriptedSession("ing")
    mask = TokenMask([bytes([code]) for code in range(256)] + [b""], script.end_of_text, str.isalpha)
    greedy = Sampling(temperature=0, repetition_penalty=1.0, opening="new word")
    steps = generate(script, [script.end_of_text, 65], greedy, script, mask=mask)
    assert "".join(step.text for step in steps) == "ing"


def test_a_server_of_asr33_obeys_and_another_one_is_not_asked() -> None:
    def asked(opening: Opening) -> dict[str, object]:
        body = OpenAIRequest("m", CompletionRequest("Hello", Sampling(opening=opening))).to_json()
        extension: dict[str, object] = body["asr33"]
        return extension

    assert asked("new word")["opening"] == "new word"
    assert "opening" not in asked("any")
    with pytest.raises(InvalidRequest, match="opening"):
        OpenAIRequest.from_json({"prompt": "Hello", "asr33": {"opening": "comma"}})
    mask = TokenMask(VOCABULARY, END, lambda char: True)
    request = CompletionRequest("Hello", Sampling(temperature=0, opening="new word"))
    sequence = BatchSequence(request, [END], ListedVocabulary(), mask, context=32, arrived_at=0.0)
    logits = np.linspace(9, 1, len(VOCABULARY), dtype=np.float32)  # likeliest first: "ing", a comma, a blank, a line
    logits[VOCABULARY.index(b" i")] = 0
    logits[VOCABULARY.index(b" ")] = 0
    assert [sequence.generate_token(logits, 0.0).text for _ in range(2)] == ["\n", "ing"]


def test_a_resumed_answer_is_no_new_opening() -> None:
    request = CompletionRequest("Hello", Sampling(opening="new word"))
    assert PartialAnswer("th", 2).remaining_request(request).sampling.opening == "any"
    assert PartialAnswer(" ", 1).remaining_request(request).sampling.opening == "new word"
    assert PartialAnswer().remaining_request(request).sampling.opening == "new word"


@on_jumping_loop
async def test_a_persona_answers_with_a_message() -> None:
    assert Conversation(speakers=Speakers("Ann")).choose_opening("HELLO") == "message"
    bench = TeletypeBench()
    answer = await exchange(
        bench.tty,
        ScriptedModel([" ,", " hi"]),
        "You: Hello\nAnn:",
        Sampling(opening="message"),
        lambda _: None,
        "\nAnn:",
    )
    await bench.tty.finish()
    assert answer[0] == " hi"
    assert bench.typing_unit.paper.text().strip() == "HI"
