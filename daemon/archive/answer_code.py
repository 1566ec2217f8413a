"""The code of an answer: four characters that an operator can read from a sheet and type. Pure."""

from __future__ import annotations

import hashlib

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0, 1, I and O, which look alike on paper
LENGTH = 4


def compute_answer_code(session_id: str, number: int) -> str:
    """Returns the code of the session's prompt with this number, from 1. `session_id`: the stem of the log's file.

    A million codes exist, so two answers of a large archive may share one; the session tells them apart.
    """
    digest = hashlib.sha256(f"{session_id}:{number}".encode(errors="surrogateescape")).digest()
    bits = int.from_bytes(digest[:4], "big")
    return "".join(ALPHABET[bits >> shift & 31] for shift in (27, 22, 17, 12))


def compute_chat_code(source: str, seed: int, prompt: str) -> str:
    """Returns the code of an answer to people of a network: the receipt that its post may carry."""
    return compute_answer_code(f"{source}\n{prompt}", seed)


def normalise_code(text: str) -> str | None:
    """Returns the code that the text spells, in capitals; None if it is no code."""
    code = text.strip().upper()
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None
