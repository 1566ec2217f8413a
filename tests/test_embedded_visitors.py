"""The exchanges with visitors, a text to train on, and the forty first lines by which such a model is judged."""

from __future__ import annotations

import re
from pathlib import Path

LINES = (Path(__file__).parent / "first_lines.txt").read_text("ascii").splitlines()
VISITORS = Path(__file__).resolve().parents[1] / "model" / "embedded" / "visitors.txt"


def normalise(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower().replace("'", "")).strip()


def test_no_first_line_is_in_the_text() -> None:
    """The lines were fixed before a model was trained; a model that knew them could not be judged by them."""
    known = {normalise(line.partition(": ")[2]) for line in VISITORS.read_text("ascii").splitlines()}
    assert len(set(LINES)) == 40
    assert known.isdisjoint(map(normalise, LINES))


def test_a_conversation_is_lines_of_two_speakers_in_turn() -> None:
    conversations = VISITORS.read_text("ascii").split("<|endoftext|>\n")
    for conversation in filter(None, conversations):
        speakers = [line.partition(": ")[0] for line in conversation.splitlines()]
        assert speakers == ["You", "Teletype"] * (len(speakers) // 2), conversation
