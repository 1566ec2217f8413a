"""The body of a POST to `/v1/chat/completions`: its messages become a dialogue that the model continues. Pure.

A GPT-2 knows no roles, so each message gets a tag of the speakers that the caller names, as in a corpus of messages.
The text of `system` and `developer` has no tag. The answer ends before the tag of another speaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.dialogue import Speakers, join_dialogue
from model.interface import PARAMETERS
from model.openai_api.fields import InvalidRequest, check_text, get_bool, get_number, reject_unknown_fields
from model.openai_api.request import MAX_STOPS, SHARED_FIELDS, OpenAIRequest, parse_request

PLAIN_SPEAKERS = Speakers("Assistant", "User")  # of a model whose corpus has no speakers
MAX_TOP_LOGPROBS = 20
MAX_SPEAKER_CHARS = 64
CHAT_FIELDS = SHARED_FIELDS | {"messages", "max_completion_tokens", "top_logprobs"}
UNTAGGED_ROLES = ("system", "developer")
# Keys of a message that asr33 does not implement.
UNSUPPORTED_KEYS = ("tool_calls", "function_call", "audio", "prefix")


def parse_chat(body: object, speakers: Speakers = PLAIN_SPEAKERS, default_seed: int = 33) -> OpenAIRequest:
    """Decodes a body; a body without a seed gets `default_seed`. Raises InvalidRequest.

    `speakers.persona` is the assistant and `speakers.you` the user, unless a message has a name.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest("body", "is not a JSON object")
    reject_unknown_fields(body, CHAT_FIELDS)
    messages = _parse_messages(body.get("messages"), speakers)
    names = [name for name, _ in messages if name]
    if len(set(names)) > MAX_STOPS:
        raise InvalidRequest("messages", f"over {MAX_STOPS} names", 422)
    known = Speakers(speakers.persona, speakers.you, (*speakers.others, *names))
    has_logprobs = get_bool(body, "logprobs")
    top_logprobs = int(get_number(body, "top_logprobs", 0, int, (0, MAX_TOP_LOGPROBS)))
    if top_logprobs and not has_logprobs:
        raise InvalidRequest("top_logprobs", "needs logprobs: true")
    limit = get_number(body, "max_completion_tokens", 0, int, PARAMETERS["max_tokens"].bounds)
    if limit:
        body = {**body, "max_tokens": limit}
    prompt = join_dialogue(messages, speakers.persona)
    request = parse_request(
        body,
        [prompt],
        known.stop_sequences,
        default_seed,
        has_logprobs=has_logprobs,
        top_logprobs=top_logprobs,
    )
    return replace(request, persona_tag=speakers.persona_tag, fills_context=body.get("max_tokens") is None)


def _parse_messages(value: object, speakers: Speakers) -> list[tuple[str, str]]:
    """Returns the name and the text of each message; the name is empty for a text without a tag."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest("messages", "is not a list of messages")
    return [_parse_message(message, f"messages[{index}]", speakers) for index, message in enumerate(value)]


def _parse_message(message: object, place: str, speakers: Speakers) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise InvalidRequest(place, "is not an object")
    for key in UNSUPPORTED_KEYS:
        if message.get(key):
            raise InvalidRequest(f"{place}.{key}", "is not implemented here: leave it out", 422)
    role, text = message.get("role"), _parse_content(message.get("content"), f"{place}.content")
    if role in ("tool", "function"):
        raise InvalidRequest(f"{place}.role", f"{role} is not implemented here: leave the message out", 422)
    if role in UNTAGGED_ROLES:
        return "", text
    if role not in ("user", "assistant"):
        raise InvalidRequest(f"{place}.role", "is none of system, developer, user, assistant")
    name = _parse_name(message.get("name"), f"{place}.name")
    return name or (speakers.you if role == "user" else speakers.persona), text


def _parse_content(value: object, place: str) -> str:
    """Returns the text of a message, with LF as its only line end."""
    parts = value if isinstance(value, list) else [] if value is None else [{"type": "text", "text": value}]
    return "\n".join("\n".join(_parse_part(part, place).splitlines()) for part in parts)


def _parse_part(part: Any, place: str) -> str:
    if not isinstance(part, Mapping):
        raise InvalidRequest(place, "has a part that is not an object")
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return check_text(part.get(kind), place)
    name = kind.encode("ascii", "backslashreplace").decode()[:MAX_SPEAKER_CHARS] if isinstance(kind, str) else "?"
    raise InvalidRequest(place, f"a part of the type {name} is not read here: send text", 422)


def _parse_name(value: object, place: str) -> str:
    name = "" if value is None else " ".join(check_text(value, place, MAX_SPEAKER_CHARS).split())
    if ":" in name:
        raise InvalidRequest(place, "has a colon, which ends a speaker's tag: leave it out")
    return name
