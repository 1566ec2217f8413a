"""The line before an answer, with what makes it again, and the line after it, with how it was made. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.config import AnswerConfig
from model.interface import PARAMETERS, Sampling, TextChunk

HASH_CHARS = 4  # of the model's hash
MAX_NAME_CHARS = 40  # of the model; its end tells more than the beginning of a path

FINISH_WORDS = {
    "end": "THE TEXT WAS COMPLETE",
    "stop": "STOP, THE NEXT SPEAKER'S TURN",
    "sentence": "FULL LENGTH, AT A SENTENCE",
    "length": "TOO MANY TOKENS",
    "context": "THE CONTEXT IS FULL",
    "break": "BREAK KEY",
    "error": "THE MODEL FAILED",
}


def format_header(model: str, model_hash: str, sampling: Sampling, columns: int) -> str:
    """Returns the model, the seed, the temperature, and each other setting that is not the usual one.

    A field that does not fit in the columns goes to the next line. `model_hash` is "" for a model on a server.
    """
    usual = AnswerConfig()
    name = model if len(model) <= MAX_NAME_CHARS else f"...{model[3 - MAX_NAME_CHARS :]}"
    fields = [
        f"MODEL {name} {model_hash[:HASH_CHARS]}".rstrip(),
        f"SEED {sampling.seed}",
        f"TEMP {format_number(sampling.temperature)}",
    ]
    for parameter in PARAMETERS:
        value = getattr(sampling, parameter)
        if parameter not in ("seed", "temperature") and value != getattr(usual, parameter):
            fields.append(f"{parameter.replace('_', '-')} {'NONE' if value is None else format_number(value)}")
    return _join_fields(fields, columns)


def format_number(number: float) -> str:
    """Returns all digits of a number, without the zero before its point."""
    text = repr(number).removesuffix(".0")
    return text[1:] if text.startswith("0.") else text


def _join_fields(fields: Iterable[str], columns: int) -> str:
    lines: list[str] = []
    for field in (field.upper() for field in fields):
        if lines and len(lines[-1]) + 2 + len(field) <= columns:
            lines[-1] += f"  {field}"
        else:
            lines.append(field)
    return "".join(f"{line}\n" for line in lines)


class AnswerMeter:
    """Counts the tokens of one answer and the characters that it struck. Times are clock seconds."""

    def __init__(self) -> None:
        self.has_certainty = False  # the model tells how sure it is
        self._tokens = self._chars = 0
        self._begin: tuple[float, int] | None = None

    @property
    def has_text(self) -> bool:
        return self._chars > 0

    def note_chunk(self, chunk: TextChunk, now: float, struck: int) -> None:
        """Counts a chunk before it is printed: a stroke may begin now, and so many characters were struck before."""
        self._tokens += len(chunk.tokens)
        self._chars += len(chunk.text)
        self.has_certainty = self.has_certainty or bool(chunk.logprobs)
        if self._begin is None and chunk.text:
            self._begin = now, struck

    def format_footer(self, finish: str, now: float, struck: int, columns: int) -> str:
        """Returns the tokens, the characters a second from the first to the last stroke, and why the answer ended."""
        made = f"{self._tokens} TOKENS" if self._tokens or not self._chars else f"{self._chars} CHARACTERS"
        fields = [made, f"ENDED: {FINISH_WORDS.get(finish, finish)}"]
        began_at, struck_before = self._begin or (now, struck)
        if now > began_at and struck > struck_before:
            fields.insert(1, f"{(struck - struck_before) / (now - began_at):.1f} CPS")
        return _join_fields(fields, columns)
