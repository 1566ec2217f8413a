"""The body of `/v1/models`, both directions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.openai_api.fields import INT32_MAX, Fields
from model.openai_api.response import object_or_empty
from model.openai_api.sse import MalformedResponse

ASR33_OWNER = "asr33"  # `owned_by` of the models of an asr33 server


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a server. `context` is in tokens, 0 if unknown; models of one `vocabulary` have the same tokens.

    `speakers` are those of its corpus, the most talkative first; `persona` is the one who answers, or "".
    """

    id: str
    owned_by: str = ASR33_OWNER
    context: int = 0
    alphabets: tuple[str, ...] = ()
    vocabulary: str = ""
    speakers: tuple[str, ...] = ()
    persona: str = ""

    @property
    def is_asr33(self) -> bool:
        return self.owned_by == ASR33_OWNER

    def to_json(self) -> dict[str, Any]:
        extension: dict[str, Any] = {
            "context": self.context,
            "alphabets": list(self.alphabets),
            "vocabulary": self.vocabulary,
        }
        extension |= {"speakers": list(self.speakers), "persona": self.persona} if self.speakers else {}
        body = {"id": self.id, "object": "model", "created": 0, "owned_by": self.owned_by}
        return {**body, "max_model_len": self.context, "asr33": extension}


def encode_models(models: Sequence[ModelInfo]) -> dict[str, Any]:
    return {"object": "list", "data": [model.to_json() for model in models]}


def decode_models(body: object) -> list[ModelInfo]:
    """Decodes the list of any server. Raises MalformedResponse."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        raise MalformedResponse("the body has no list of models")
    return [_decode_model(entry) for entry in data if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)]


def _decode_model(entry: Fields) -> ModelInfo:
    extension, meta = object_or_empty(entry, "asr33"), object_or_empty(entry, "meta")
    # Keys of asr33, of vLLM, and of llama.cpp (the context in use, and that of the training).
    sizes = (extension.get("context"), entry.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train"))
    alphabets = extension.get("alphabets")
    speakers, persona = extension.get("speakers"), extension.get("persona")
    names = tuple(map(str, speakers)) if isinstance(speakers, list) else ()
    return ModelInfo(
        id=str(entry["id"]),
        owned_by=str(entry.get("owned_by") or ""),
        context=next((size for size in sizes if type(size) is int and 0 < size <= INT32_MAX), 0),
        alphabets=tuple(map(str, alphabets)) if isinstance(alphabets, list) else (),
        speakers=names,
        persona=str(persona) if persona in names else "",
        vocabulary=str(extension.get("vocabulary") or ""),
    )
