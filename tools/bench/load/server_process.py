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

from tools.bench import local_server
from tools.bench.load.backends import backends
from tools.bench.load.settings import EngineSettings
from tools.bench.worker import WorkerReply, failure_reply

ROOT = Path(__file__).resolve().parents[3]
# In a foreign environment ours comes last: what lives there is found first, what is missing there is found here.
BOOTSTRAP = "import sys; sys.path += {paths!r}; from tools.bench.load.server_process import main; main()"


def bootstrap_code() -> str:
    """What a Python of any environment is to run."""
    return BOOTSTRAP.format(paths=[str(ROOT), *(path for path in sys.path if path.endswith("-packages"))])


def main() -> None:
    # What a library prints goes to the error output, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    question = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_at_end_of, args=(sys.stdin,), daemon=True).start()
    try:
        front = backends.open_backend(
            question["engine"], Path(question["folder"]), EngineSettings(**question["setting"])
        )
        asyncio.run(_serve_backend(front, answers))
    except ModuleNotFoundError as error:
        _write_reply(answers, {"absent": (error.name or "").split(".")[0]})
    except Exception as error:  # whatever a foreign library raises
        _write_reply(answers, failure_reply(error))


async def _serve_backend(backend: backends.Backend, replies: IO[str]) -> None:
    await backend.wait_until_loaded()

    def told(port: int) -> None:
        _write_reply(replies, {"port": port, "device": backend.device})

    await local_server.serve_locally(backend, backend.name, told, alphabets=backends.TYPE_WHEELS)


def _write_reply(replies: IO[str], reply: WorkerReply) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _exit_at_end_of(requests: IO[str]) -> None:
    requests.read()
    os._exit(0)
