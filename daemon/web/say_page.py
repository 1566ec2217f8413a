"""`/say` of the live page: the session's model answers a caller, in text alone, under the rules of visitors who type.

Nothing is printed. The operator has the model first: while the operator types or gets an answer, a new caller gets a
place in line, and an answer that has begun waits and then goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.web.visitor_lines import MAX_LINE_CHARS, LineRefused, VisitorLines
from model.dialogue import Speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.interface import CompletionRequest, Model, Sampling, TextChunk
from model.openai_api.fields import InvalidRequest
from model.server import refusals
from model.server.caller_queue import CallerQueue, QueueFull
from model.server.middleware import client_address
from model.server.refusals import HttpError, Refusal, StreamCancelled
from model.server.say_request import parse_say
from model.server.say_response import queue_error, refuse, request_error, send_answers
from model.server.streaming import ClientStream

MAX_OPEN = 1  # the model of a session makes one answer at a time
POLL_INTERVAL_S = 0.05  # checks whether the operator has begun a line, or has an answer

_log = logging.getLogger("asr33.web")


class SayReply(Response):
    """The reply to one caller. Its headers are those of `send_answers`."""

    def __init__(self, page: SayPage) -> None:
        super().__init__()
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._page.answer(scope, receive, send)


class SayPage:
    """The callers of one session. `is_model_free` says whether the operator needs the model now."""

    def __init__(self, model: Model, visitors: VisitorLines, is_model_free: Callable[[], bool]) -> None:
        self._model, self._visitors, self._is_model_free = model, visitors, is_model_free
        self._queue = CallerQueue(MAX_OPEN, MAX_OPEN, time.monotonic)
        self._clients: set[ClientStream] = set()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answers to one caller, or the reason why there are none now."""
        client = ClientStream("")
        self._clients.add(client)
        try:
            await self._answer_client(client, scope, receive, send)
        except HttpError as error:
            await refuse(scope, error)(scope, receive, send)
        except StreamCancelled:
            pass  # the connection closes, and a body that has begun ends without its last chunk
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """Ends the open answers."""
        for client in list(self._clients):
            client.cancel("down")

    async def _answer_client(self, client: ClientStream, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises HttpError before the first byte, StreamCancelled at any time."""
        try:
            self._visitors.require_public()
            defaults = self._visitors.answer.make_sampling(secrets.randbelow(1 << 31), (), "any")
            say = parse_say(scope["query_string"], defaults, self._choose_speakers, MAX_LINE_CHARS)
            is_closed = bool(self._visitors.waiting) or not self._is_model_free()
            with self._queue.enter(client_address(scope), is_closed=is_closed):
                await send_answers(say, self._model.name, self._generate, client, scope, receive, send)
        except LineRefused as error:
            raise Refusal(error.status, "refused", "{}").error(error) from None
        except InvalidRequest as error:
            raise request_error(error) from None
        except QueueFull as full:
            raise queue_error(full) from None
        except ModelError as error:
            _log.error("/say: the model failed: %s", refusals.error_location(error))
            raise refusals.error_for(error) from None

    def _choose_speakers(self, persona: str | None) -> Speakers:
        """Returns a persona that visitors may choose, in any case. Raises InvalidRequest."""
        names = {name.casefold(): name for name in self._visitors.personas}
        try:
            return self._visitors.choose_persona(persona and names.get(persona.casefold(), persona))
        except LineRefused as error:
            raise InvalidRequest("persona", str(error)) from None

    async def _generate(self, request: CompletionRequest) -> AsyncGenerator[TextChunk, None]:
        """Continues the prompt while the model is free. Raises ModelError."""
        with engine_errors():
            await self._model.wait_ready()
            text, sampling = "", request.sampling
            while True:
                while not self._is_model_free():  # noqa: ASYNC110 - the session has no event for it
                    await asyncio.sleep(POLL_INTERVAL_S)
                async with aclosing(self._stream_while_free(request.prompt + text, sampling)) as chunks:
                    async for chunk in chunks:
                        if chunk is None:
                            break
                        text += chunk.text
                        yield chunk
                    else:
                        return
                if sampling.length:
                    sampling = replace(sampling, length=max(1, (request.sampling.length or 0) - len(text)))
                if text:
                    sampling = replace(sampling, opening="any")  # it goes on, in a word perhaps

    async def _stream_while_free(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk | None, None]:
        """Yields the chunks of the model, and None at the end if the operator wants the model."""
        async with aclosing(self._model.stream(prompt, sampling)) as chunks:
            while True:
                waiting = asyncio.ensure_future(anext(chunks, None))
                try:
                    while not waiting.done() and self._is_model_free():
                        await asyncio.wait({waiting}, timeout=POLL_INTERVAL_S)
                    if not self._is_model_free():
                        yield None
                        return
                    chunk = waiting.result()
                finally:
                    waiting.cancel()
                    await asyncio.wait({waiting})
                if chunk is None:
                    return
                yield chunk
