"""`make pi`: asr33 in the Debian of a Pi, 32 and 64 bit, under emulation; what it prints is what it prints here.

armhf: `pip install .` alone, and a server outside the root printed at a virtual machine outside it, by the daemon in
it. arm64: `pip install '.[cpu]'`, and the embedded model's likeliest answer, word for word that of this processor.
It proves that a thing installs, runs and gives the same numbers; of speed and memory emulation says nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent)]

import fakes_reciting_server  # noqa: E402
import fakes_sandbox  # noqa: E402

PARTS = ("daemon", "drivers", "model", "systemd", "tools", "pyproject.toml", "README.md", "LICENSE")
PROCESSORS = {"armhf": "cortex-a7", "arm64": "cortex-a72"}  # of a Pi 2 and of a Pi 4
# Whom this system trusts and where its pip finds packages, so that the root's does too.
SETTINGS = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
ASR33 = "/opt/asr33/bin/asr33"
PROMPT = "The Teletype is"
GREEDY = ("--temperature", "0", "--seed", "7", "--max-tokens", "48")


class Unproven(Exception):
    """Why not, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=Path, required=True, metavar="FOLDER", help="where the roots are kept")
    parser.add_argument("processors", nargs="*", help=f"which, of {', '.join(PROCESSORS)} (both)")
    args = parser.parse_args()
    try:
        for processor in args.processors or PROCESSORS:
            _prove(processor, args.roots.expanduser().resolve() / processor)
    except Unproven as error:
        sys.stderr.write(f"pi: {error}\n")
        return 1
    return 0


def _prove(processor: str, root: Path) -> None:
    if subprocess.run([HERE / "root", processor, root], check=False).returncode:
        raise Unproven(f"no root for {processor}")
    with TemporaryDirectory(prefix="asr33-pi-") as folder:
        inside = Inside(processor, root, Path(folder))
        inside.install("[cpu]" if processor == "arm64" else "")
        if processor == "arm64":
            _same_answer(inside)
        else:
            _all_pure(inside)
            _same_paper(inside)


class Inside:
    """A root and what is seen in it: `bound` is its /host, and has a copy of this tree."""

    def __init__(self, processor: str, root: Path, bound: Path) -> None:
        self.processor, self.root, self.bound = processor, root, bound
        self._environ = os.environ | {"PI_BOUND": str(bound), "QEMU_CPU": PROCESSORS[processor], "HOME": "/root"}
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, bound / "asr33" / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, bound / "asr33")
        shutil.copy(ROOT / "constraints.txt", bound)
        for path in filter(Path.exists, SETTINGS):
            shutil.copy(path, root / path.relative_to("/"))

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([HERE / "enter", self.root, *words], env=self._environ, text=True, **more)

    def run(self, *words: str) -> str:
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=900)
        if process.returncode:
            last = err.strip().splitlines()[-1:] or ["nothing was said"]
            raise Unproven(f"{self.processor}: {' '.join(words)}: {process.returncode}: {last[0]}")
        return str(out)

    def install(self, extra: str) -> None:
        with _told(f"{self.processor}: pip install '.{extra}'"):
            self.run("python3", "-m", "venv", "--clear", "/opt/asr33")
            self.run("/opt/asr33/bin/pip", "install", "--quiet", "-c", "/host/constraints.txt", f"/host/asr33{extra}")

    @property
    def packages(self) -> Path:
        return self.root / "opt/asr33/lib"


def _all_pure(inside: Inside) -> None:
    wheels = list(inside.packages.rglob("*.dist-info/WHEEL"))
    tags = {path.parent.name: [line for line in path.read_text().splitlines() if "Tag: " in line] for path in wheels}
    impure = [name for name, found in tags.items() if not all(tag.endswith("-none-any") for tag in found)]
    if impure or any(inside.packages.rglob("*.so")):
        raise Unproven(f"not pure Python: {', '.join(impure)}")
    _say(f"{inside.processor}: all {len(tags)} wheels are pure Python")


def _same_answer(inside: Inside) -> None:
    ask = ("ask", PROMPT, *GREEDY)
    here = subprocess.run(
        [sys.executable, "-m", "tools.main", *ask], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with _told(f"{inside.processor}: asr33 ask"):
        there = inside.run(ASR33, *ask)
    if there != here.stdout:
        raise Unproven(f"{inside.processor} says {there!r}, and this processor {here.stdout!r}")
    _say(f"{inside.processor}: the same {len(there.split())} words as here")


def _same_paper(inside: Inside) -> None:
    with fakes_sandbox.open_sandbox(inside.bound) as room, fakes_reciting_server.start_reciting_server() as server:
        machine = room.machine("--fast")
        with _told(f"{inside.processor}: asr33 run"):
            daemon = inside.start(ASR33, "run", "--line", "/host/tty33", "--model", server.url, "--fast")
            try:
                _until(lambda: room.paper().endswith("READY\n"), daemon)
                assert machine.stdin is not None
                machine.stdin.write(b"WHAT DO YOU SEE\n")
                machine.stdin.flush()
                _until(lambda: room.paper().count("READY\n") == 2, daemon)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(60)
        said = " ".join(room.paper().partition("WHAT DO YOU SEE\n")[2].removesuffix("READY\n").split())
    if said != server.text.upper():
        raise Unproven(f"{inside.processor} printed {said!r}, and the server said {server.text!r}")
    _say(f"{inside.processor}: the paper has what the server said, {len(said)} characters")


def _until(met: Callable[[], bool], daemon: subprocess.Popen[str]) -> None:
    try:
        fakes_sandbox.wait_for(lambda: met() or daemon.poll() is not None, 120.0)
    except AssertionError as error:
        raise Unproven(str(error)) from None
    if daemon.poll() is not None:
        raise Unproven("the daemon ended")


@contextmanager
def _told(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    _say(f"{what}: {time.monotonic() - begun:.0f} s")


def _say(line: str) -> None:
    sys.stdout.write(f"pi: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
