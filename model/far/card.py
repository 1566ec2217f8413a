"""What a server says of its models at `/v1/models`, whoever wrote it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.far.request import TOKEN
from model.far.sse import Garbled

OURS = "asr33"  # who owns the models of our own server


@dataclass(frozen=True, slots=True)
class Card:
    """A model as `/v1/models` has it. `context` 0: it does not say. `vocabulary`: the same, the same tokens."""

    id: str
    owned_by: str = OURS
    context: int = 0
    alphabets: tuple[str, ...] = ()
    vocabulary: str = ""

    @property
    def ours(self) -> bool:
        return self.owned_by == OURS

    def to_json(self) -> dict[str, Any]:
        about = {"context": self.context, "alphabets": list(self.alphabets), "vocabulary": self.vocabulary}
        body = {"id": self.id, "object": "model", "created": 0, "owned_by": self.owned_by}
        return {**body, "max_model_len": self.context, "asr33": about}


def catalogue(cards: Sequence[Card]) -> dict[str, Any]:
    """The body of `/v1/models`."""
    return {"object": "list", "data": [card.to_json() for card in cards]}


def cards(found: object) -> list[Card]:
    """The models of a `/v1/models`, whoever wrote it. Raises Garbled."""
    data = found.get("data") if isinstance(found, Mapping) else None
    if not isinstance(data, list):
        raise Garbled("a list of models that is none")
    return [_card(card) for card in data if isinstance(card, Mapping) and isinstance(card.get("id"), str)]


def _card(found: Mapping[str, Any]) -> Card:
    ours, meta = _object(found, "asr33"), _object(found, "meta")
    # Ours, vLLM's, llama.cpp's (in hand, and in training).
    said = (ours.get("context"), found.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train"))
    alphabets = ours.get("alphabets")
    return Card(
        id=str(found["id"]),
        owned_by=str(found.get("owned_by") or ""),
        context=next((size for size in said if type(size) is int and 0 < size <= TOKEN), 0),
        alphabets=tuple(map(str, alphabets)) if isinstance(alphabets, list) else (),
        vocabulary=str(ours.get("vocabulary") or ""),
    )


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}
