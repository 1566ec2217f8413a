"""What a server says of its models at `/v1/models`, whoever wrote it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.openai_api.request import MAX_TOKEN
from model.openai_api.sse import MalformedResponse

ASR33_OWNER = "asr33"  # who owns the models of our own server


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as `/v1/models` has it. `context` 0: it does not say. `vocabulary`: the same, the same tokens."""

    id: str
    owned_by: str = ASR33_OWNER
    context: int = 0
    alphabets: tuple[str, ...] = ()
    vocabulary: str = ""

    @property
    def is_asr33(self) -> bool:
        return self.owned_by == ASR33_OWNER

    def to_json(self) -> dict[str, Any]:
        about = {"context": self.context, "alphabets": list(self.alphabets), "vocabulary": self.vocabulary}
        body = {"id": self.id, "object": "model", "created": 0, "owned_by": self.owned_by}
        return {**body, "max_model_len": self.context, "asr33": about}


def encode_models(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The body of `/v1/models`."""
    return {"object": "list", "data": [card.to_json() for card in models]}


def decode_models(body: object) -> list[ModelInfo]:
    """The models of a `/v1/models`, whoever wrote it. Raises Garbled."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        raise MalformedResponse("a list of models that is none")
    return [_decode_model(card) for card in data if isinstance(card, Mapping) and isinstance(card.get("id"), str)]


def _decode_model(entry: Mapping[str, Any]) -> ModelInfo:
    ours, meta = _get_object(entry, "asr33"), _get_object(entry, "meta")
    # Ours, vLLM's, llama.cpp's (in hand, and in training).
    said = (ours.get("context"), entry.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train"))
    alphabets = ours.get("alphabets")
    return ModelInfo(
        id=str(entry["id"]),
        owned_by=str(entry.get("owned_by") or ""),
        context=next((size for size in said if type(size) is int and 0 < size <= MAX_TOKEN), 0),
        alphabets=tuple(map(str, alphabets)) if isinstance(alphabets, list) else (),
        vocabulary=str(ours.get("vocabulary") or ""),
    )


def _get_object(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, Mapping) else {}
