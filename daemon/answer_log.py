"""Writes the records of one answer: its prompt, its chunks, what the context forgot, and its end."""

from __future__ import annotations

import time

from daemon.session_log import SessionLog
from model.interface import PARAMETERS, Sampling, TextChunk


class AnswerLog:
    """The records of one answer. `forgotten_chars` were dropped from its prompt and itself while it was made."""

    def __init__(self, log: SessionLog) -> None:
        self.forgotten_chars = 0
        self._log = log

    def write_prompt(self, prompt: str, sampling: Sampling, forgotten_chars: int, speaker: str = "") -> None:
        """Writes the prompt, from which so many characters of the conversation were dropped before.

        `speaker`: whose turn it is in a talk of two personas.
        """
        self._write_forgotten(forgotten_chars)
        parameters = {name: getattr(sampling, name) for name in PARAMETERS if name != "seed"}
        parameters |= {"opening": sampling.opening} | ({"stop": list(sampling.stop)} if sampling.stop else {})
        self._log.write_prompt(time.monotonic(), prompt, sampling.seed, parameters, speaker)

    def write_chunk(self, chunk: TextChunk) -> None:
        self.forgotten_chars += chunk.dropped_chars
        self._write_forgotten(chunk.dropped_chars)
        self._log.write(
            time.monotonic(),
            "piece",
            text=chunk.text,
            tokens=list(chunk.tokens),
            made=self._log.log_time(chunk.created_at),
            **({"notice": chunk.notice} if chunk.notice else {}),
        )

    def write_error(self, text: str) -> None:
        self._log.write(time.monotonic(), "error", text=text)

    def write_end(self, finish: str) -> None:
        self._log.write(time.monotonic(), "end", finish=finish)

    def _write_forgotten(self, characters: int) -> None:
        if characters:
            self._log.write(time.monotonic(), "forgot", characters=characters)
