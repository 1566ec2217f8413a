"""The answer of the model to people of a network: its prompt, and whole sentences within the length of a message.

The operator has the model first. While the operator uses it an answer waits, and one that has begun is given up and
made anew; the same seed gives the same text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from daemon.bridges.chat_text import cut_to_sentences
from model.dialogue import ChatTextFilter, join_dialogue
from model.engine_errors import engine_errors
from model.interface import Model, Sampling
from model.opening import OpeningTrimmer
from model.printable import drop_half_characters

MAX_STOPS = 4  # in a request, as OpenAI's servers allow
POLL_INTERVAL_S = 0.25  # checks whether the operator has begun a line, or ended it
ChatLines = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What the model said, and to what."""

    prompt: str
    text: str
    code: str = ""  # of the receipt, if the post has one


@dataclass(frozen=True, slots=True)
class ChatVoice:
    """As whom the model speaks. `cue` is the text before the lines, for a model that knows no chat.

    Without a persona it goes on with the text of the lines, and names no speaker.
    """

    persona: str
    cue: str = ""

    def build_prompt(self, lines: ChatLines) -> str:
        """Returns the lines as a dialogue that ends with the persona's tag, and never in a blank."""
        plain = "\n".join(text for _, text in lines).rstrip()
        dialogue = join_dialogue(lines, self.persona) if self.persona else plain
        return f"{self.cue}\n\n{dialogue}" if self.cue else dialogue

    def find_stops(self, lines: ChatLines) -> tuple[str, ...]:
        """Returns the tags of those who spoke last: the answer ends before it speaks for them."""
        if not self.persona:
            return ()
        names = dict.fromkeys(name for name, _ in reversed(lines) if name != self.persona)
        return tuple(f"\n{name}:" for name in names)[:MAX_STOPS]


def default_cue(persona: str) -> str:
    """Returns the cue for a model that was trained on no chat."""
    return f"People talk in a chat room. {persona} is an old Teletype there. It answers in one or two short sentences."


async def answer_room(
    model: Model, voice: ChatVoice, lines: ChatLines, sampling: Sampling, is_model_free: Callable[[], bool]
) -> ChatAnswer:
    """Returns what the persona says next, in whole sentences; an empty text if the model says nothing.

    It waits for the operator, without a limit. Raises ModelError.
    """
    with engine_errors():
        await model.wait_ready()
        prompt = _fit_prompt(model, voice, lines, sampling)
        while True:
            while not is_model_free():  # noqa: ASYNC110 - the session has no event for it
                await asyncio.sleep(POLL_INTERVAL_S)
            answer = await _generate_while_free(model, voice, prompt, sampling, is_model_free)
            if answer is not None:
                return ChatAnswer(prompt, cut_to_sentences(answer, sampling.length or len(answer)))


async def _generate_while_free(
    model: Model, voice: ChatVoice, prompt: str, sampling: Sampling, is_model_free: Callable[[], bool]
) -> str | None:
    """Returns the answer; None if the operator wanted the model meanwhile."""
    generating = asyncio.ensure_future(_generate(model, voice, prompt, sampling))
    try:
        while not generating.done():
            if not is_model_free():
                return None
            await asyncio.wait({generating}, timeout=POLL_INTERVAL_S)
        return generating.result()
    finally:
        generating.cancel()
        await asyncio.wait({generating})


async def _generate(model: Model, voice: ChatVoice, prompt: str, sampling: Sampling) -> str:
    """Returns the first line of the answer: a line of chat has no second one."""
    text_filter, trimmer = ChatTextFilter(f"\n{voice.persona}:" if voice.persona else ""), OpeningTrimmer("message")
    answer = ""
    async with aclosing(model.stream(prompt, sampling)) as chunks:
        async for chunk in chunks:
            answer += text_filter.feed(trimmer.feed(drop_half_characters(chunk.text)))
            if "\n" in answer.lstrip():
                break
        else:
            answer += text_filter.feed(trimmer.flush()) + text_filter.flush()
    return answer.lstrip().partition("\n")[0]


def _fit_prompt(model: Model, voice: ChatVoice, lines: ChatLines, sampling: Sampling) -> str:
    """Returns the prompt without the oldest lines, if they leave no room for the answer."""
    limit = model.context - min(model.context // 4, (sampling.length or 0) // 3 + 64)
    while len(lines) > 1 and model.count_tokens(voice.build_prompt(lines)) > limit:
        lines = lines[1:]
    return voice.build_prompt(lines)
