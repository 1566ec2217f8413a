"""Before all else: who is it; and after all else: what became of it, in a number and a line of the log.

Knows no model and no text: the log has a path's kind, a status, numbers, and the name of a key.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.serving import door
from model.serving.door import Refused
from model.serving.handing import Line

CLOSED = 499  # nginx's number for a client who has left before there was a status
WHAT = {"/v1/completions": "completions", "/v1/models": "models", "/health": "health", "/metrics": "metrics"}

log = logging.getLogger("asr33.serve")


class Gate:
    """Lets in whom `admit` has a name for; what is refused, and what fails, is answered here."""

    def __init__(self, app: ASGIApp, admit: Callable[[Scope], str], requests: Counter[tuple[str, int]]) -> None:
        self._app, self._admit, self._requests = app, admit, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        line = Line("")
        scope["path"] = door.path(scope["path"])
        scope.setdefault("state", {})["line"] = line
        try:
            line.who = self._admit(scope)
            await self._app(scope, receive, watched)
        except Refused as no:
            await no.response()(scope, receive, watched)
        except door.Gone:
            pass
        except Exception as error:
            log.error("asr33: %s", place(error))
            if not status:
                failed = door.refused(500, "the server failed; its log says where", "server_failed")
                await failed.response()(scope, receive, watched)
        finally:
            line.cut("gone")
            self._note(scope["path"], status or CLOSED, line, time.monotonic() - begun)

    def _note(self, path: str, status: int, line: Line, seconds: float) -> None:
        what = "models" if path.startswith("/v1/models/") else WHAT.get(path, "other")
        self._requests[what, status] += 1
        level = logging.DEBUG if what in ("health", "metrics") else logging.INFO
        log.log(level, "%s %d, %d tokens, %.2f s%s", what, status, line.tokens, seconds, line.who and f", {line.who}")


def place(error: BaseException) -> str:
    """Kind and place of what nobody foresaw; its words might be a reader's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
