"""The query of a GET at `/say`: its fields become requests for answers, one after another. Pure.

A persona answers with one message, as in a corpus of messages. Without a persona the prompt is continued.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from model.dialogue import ChatTextFilter, Speakers, join_dialogue
from model.interface import PARAMETERS, CompletionRequest, Sampling, TextChunk
from model.openai_api.fields import InvalidRequest
from model.opening import OpeningTrimmer, choose_opening, ends_sentence
from model.printable import drop_half_characters, escape_controls, quote_briefly

PATH = "/say"
FIELDS = ("prompt", "n", "persona", "temperature", "seed")
MAX_ANSWERS = 10  # of one request
MAX_FIELDS = 16
ROBOTS_TEXT = "User-agent: *\nDisallow: /\n"
ROBOTS_HEADER = ("X-Robots-Tag", "noindex, nofollow")


@dataclass(frozen=True, slots=True)
class SayRequest:
    """The answers that a caller asks for; their seeds follow each other."""

    answers: tuple[CompletionRequest, ...]
    persona: str
    persona_tag: str

    @property
    def seed(self) -> int:
        return self.answers[0].sampling.seed


def parse_say(
    query: bytes, defaults: Sampling, choose_speakers: Callable[[str | None], Speakers], max_prompt_chars: int
) -> SayRequest:
    """Decodes a query. `choose_speakers` gets the name of the persona, or None. Raises InvalidRequest."""
    fields = _parse_fields(query)
    text = fields.get("prompt", "").strip()
    if not text:
        raise InvalidRequest("prompt", "is missing: ask for /say?prompt=TEXT")
    if len(text) > max_prompt_chars:
        raise InvalidRequest("prompt", f"is over {max_prompt_chars:,} characters: shorten it")
    count = int(_parse_number(fields, "n", 1, int, (1, MAX_ANSWERS)))
    temperature = float(
        _parse_number(fields, "temperature", defaults.temperature, float, PARAMETERS["temperature"].bounds)
    )
    seed = int(_parse_number(fields, "seed", defaults.seed, int, PARAMETERS["seed"].bounds))
    speakers = choose_speakers(fields.get("persona"))
    prompt = _build_prompt(text, speakers)
    stop = (*speakers.stop_sequences, speakers.persona_tag) if speakers.persona else ()
    opening = "message" if speakers.persona else choose_opening(prompt)
    sampling = replace(defaults, temperature=temperature, stop=stop, opening=opening)
    seeds = PARAMETERS["seed"].bounds[1] + 1
    answers = tuple(
        CompletionRequest(prompt, replace(sampling, seed=(seed + number) % int(seeds)), gives_way=True)
        for number in range(count)
    )
    return SayRequest(answers, speakers.persona, speakers.persona_tag)


class SayText:
    """The text of one answer as a caller gets it: without tags, blanks at its ends, and controls of a terminal."""

    def __init__(self, request: CompletionRequest, persona_tag: str) -> None:
        is_new = bool(persona_tag) or ends_sentence(request.prompt)
        self._trimmer = OpeningTrimmer(request.sampling.opening, is_new_sentence=is_new)
        self._filter = ChatTextFilter(persona_tag)

    def feed(self, chunk: TextChunk) -> str:
        """Returns the text that is certain now; whole characters alone."""
        text = self._filter.feed(self._trimmer.feed(drop_half_characters(chunk.text)))
        if chunk.finish_reason:
            text += self._filter.feed(self._trimmer.flush()) + self._filter.flush()
        return escape_controls(text, keep="\n\t")


def _build_prompt(text: str, speakers: Speakers) -> str:
    if not speakers.persona:
        return text
    dialogue = join_dialogue([(speakers.you, "\n".join(text.splitlines()))], speakers.persona)
    return f"{speakers.cue}\n{dialogue}" if speakers.cue else dialogue


def _parse_fields(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except UnicodeDecodeError:
        raise InvalidRequest("query", "has bytes that are not UTF-8") from None
    except ValueError:
        raise InvalidRequest("query", f"has over {MAX_FIELDS} fields") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequest("query", "has a field twice")
    if unknown := [name for name in fields if name not in FIELDS]:
        known = ", ".join(FIELDS)
        raise InvalidRequest(quote_briefly(unknown[0], 32) or "query", f"is not one of {known}")
    return fields


def _parse_number(
    fields: dict[str, str], name: str, default: float, kind: type[float], bounds: tuple[float, float]
) -> float:
    low, high = bounds
    try:
        value = kind(fields[name]) if name in fields else default
    except ValueError:
        value = high + 1
    if not low <= value <= high:
        raise InvalidRequest(name, f"is a{' whole' if kind is int else ''} number from {low:,} to {high:,}")
    return value
