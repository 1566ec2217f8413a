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

from tools.benching import hosting
from tools.benching.lines import fronts
from tools.benching.lines.setting import Setting
from tools.benching.worker import Answer, failed

ROOT = Path(__file__).resolve().parents[3]
# In a foreign environment ours comes last: what lives there is found first, what is missing there is found here.
START = "import sys; sys.path += {paths!r}; from tools.benching.lines.serving import main; main()"


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
    await front.ready()

    def told(port: int) -> None:
        _say(answers, {"port": port, "device": front.device})

    await hosting.serve(front, front.name, told, alphabets=fronts.WHEELS)


def _say(answers: IO[str], answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _end_with(questions: IO[str]) -> None:
    questions.read()
    os._exit(0)
