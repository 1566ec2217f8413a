"""`/say` of the server: finds the persona and the caller's place, and lets the engine answer.

The answers give way to all others of the engine, so an operator at a machine comes first.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator

from starlette.types import Receive, Scope, Send

from model.dialogue import NO_PERSONA, Speakers, choose_speakers
from model.errors import ModelError
from model.interface import ANSWER_LENGTH, CompletionRequest, Sampling, TextChunk
from model.openai_api.chat_request import PLAIN_SPEAKERS
from model.openai_api.fields import InvalidRequest
from model.server.caller_queue import CallerQueue, QueueFull
from model.server.completion_response import CompletionBackend, convert_model_error
from model.server.middleware import client_address
from model.server.open_answers import OpenAnswers
from model.server.say_request import parse_say
from model.server.say_response import queue_error, request_error, send_answers


class SayEndpoint:
    """Answers at most `max_say` callers at once, and one caller with a quarter of that."""

    def __init__(
        self,
        model: CompletionBackend,
        answers: OpenAnswers,
        speakers: Speakers,
        name: str,
        max_prompt_chars: int,
        max_say: int,
    ) -> None:
        self.queue = CallerQueue(max_say, max(1, max_say // 4), time.monotonic)
        self._model, self._answers, self._speakers = model, answers, speakers
        self._name, self._max_prompt_chars = name, max_prompt_chars

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["state"]["client"]

        def generate(request: CompletionRequest) -> AsyncGenerator[TextChunk, None]:
            return self._model.stream(request, client.key_name)

        try:
            defaults = Sampling(length=ANSWER_LENGTH, seed=secrets.randbelow(1 << 31))
            say = parse_say(scope["query_string"], defaults, self._choose_speakers, self._max_prompt_chars)
            async with self._answers.register(client, 0):
                with self.queue.enter(client.key_name or client_address(scope)):
                    await send_answers(say, self._name, generate, client, scope, receive, send)
        except InvalidRequest as error:
            raise request_error(error) from None
        except QueueFull as full:
            raise queue_error(full) from None
        except ModelError as error:
            raise convert_model_error(error) from None

    def _choose_speakers(self, persona: str | None) -> Speakers:
        """Returns the speakers of the server's chats; without a persona there, or with "", the prompt is continued."""
        own = self._speakers
        if persona is None:
            return own if own != PLAIN_SPEAKERS else NO_PERSONA
        try:
            return choose_speakers(persona, own.you, own.others)
        except ModelError as error:
            raise InvalidRequest("persona", str(error)) from None
