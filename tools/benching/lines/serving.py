"""The server that is measured, in a process of its own: a front of choice behind all of `asr33 serve`.

It is asked one question, a line of JSON as any worker of `asr33 bench`, answers with its port, and ends with its
input, so that none is left when the asker dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import IO

from tools.benching.lines import fronts
from tools.benching.lines.setting import Setting
from tools.benching.worker import Answer, failed

ROOT = Path(__file__).resolve().parents[3]
# In a foreign environment ours comes last: what lives there is found first, what is missing there is found here.
START = "import sys; sys.path += {paths!r}; from tools.benching.lines.serving import main; main()"
CONNECTIONS = 100_000  # or as many as the system gives: its own limits are not what is measured


def start() -> str:
    """What a Python of any environment is to run."""
    return START.format(paths=[str(ROOT), *(path for path in sys.path if path.endswith("-packages"))])


def main() -> None:
    # What a library prints goes to the error output, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    question = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    try:
        front = fronts.front(question["engine"], Path(question["folder"]), Setting(**question["setting"]))
        asyncio.run(_serve(front, answers))
    except ModuleNotFoundError as error:
        _say(answers, {"absent": (error.name or "").split(".")[0]})
    except Exception as error:  # whatever a foreign library raises
        _say(answers, failed(error))


async def _serve(front: fronts.Front, answers: IO[str]) -> None:
    from daemon.notify import Notify
    from model.serving.door import Limits
    from model.serving.server import Server
    from tools import opening
    from tools.hall import Hall, Patience
    from tools.porch import Porch

    await front.ready()
    server = Server(front, name=front.name, limits=Limits(lines=CONNECTIONS), alphabets=fronts.WHEELS)
    hall = Hall(Patience(connections=opening.descriptors(CONNECTIONS)))
    sockets = opening.sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]

    class Told(Notify):
        def ready(self, status: str = "") -> None:
            _say(answers, {"port": port, "device": front.device})

    await opening.life(server, Porch(server.app, hall, None), sockets, 0.0, "", Told())


def _say(answers: IO[str], answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _end_with(questions: IO[str]) -> None:
    questions.read()
    os._exit(0)
