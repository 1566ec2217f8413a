"""Makes the file for a bug report. Nothing is copied that could be a name, a path, a host, a key or a typed text.

It has numbers, choices from fixed lists, versions, and of each message the program's own words (`message_templates`).
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from daemon.config import SECTIONS, Config
from model.server_url import is_url
from tools.doctor.finding import Examination
from tools.doctor.message_templates import MessageTemplate, collect_templates, redact_message

REPORT_VERSION = 1
MAX_MESSAGES = 50
_SOURCES = ("daemon", "drivers", "model", "tools.doctor", "tools.cli")
# fmt: off
_PACKAGES = (
    "asr33", "pyserial", "pyserial-asyncio", "rich", "httpx2", "cattrs", "onnxruntime", "onnxruntime-gpu", "numpy",
    "onnx", "tokenizers", "safetensors", "torch", "starlette", "uvicorn", "h11", "aiomqtt", "paho-mqtt",
)
_DISTRIBUTIONS = ("debian", "raspbian", "ubuntu", "fedora", "arch", "alpine", "opensuse-leap", "nixos", "linuxmint")
# fmt: on
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)?")
_BOARD = re.compile(r"Raspberry Pi (Zero|Compute Module|[\d]+)[A-Za-z0-9. ]{0,40}")
_JOURNAL = ("journalctl", "--no-pager", "--output=cat", f"--lines={MAX_MESSAGES}", "--unit=asr33@*")
_PRIORITY = re.compile(r"^<\d>")  # sd-daemon(3)
_TIMEOUT_S = 10.0

Run = Callable[[Sequence[str]], str]


def make_report(examinations: Iterable[Examination], config: Config, root: Path, run: Run | None = None) -> str:
    """Returns the text of the report, in JSON. `run` runs journalctl and returns its output; it may raise OSError."""
    templates = _load_templates()
    messages, why_not = _read_messages(templates, run or _run_command)
    document = {
        "report": REPORT_VERSION,
        "platform": _describe_platform(root),
        "packages": {name: _find_version(name) for name in _PACKAGES},
        "examinations": [_describe_examination(examination, templates) for examination in examinations],
        "settings": {section: _mask_section(getattr(config, section)) for section in SECTIONS},
        "messages": messages,
        "messages_not_read": why_not,
    }
    return json.dumps(document, indent=2) + "\n"


@cache
def _load_templates() -> list[MessageTemplate]:
    """Returns the templates of the program's own sources, which a zipped program has too."""
    sources: list[str] = []
    for package in _SOURCES:
        _collect_sources(files(package), sources)
    return collect_templates(sources)


def _collect_sources(folder: Traversable, found: list[str]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect_sources(entry, found)
        elif entry.name.endswith(".py"):
            found.append(entry.read_text(encoding="utf-8"))


def _describe_examination(examination: Examination, templates: Sequence[MessageTemplate]) -> dict[str, Any]:
    def redact(text: str) -> str:
        return redact_message(text, templates)

    return {
        "name": examination.name,
        "subject": redact(examination.subject),
        "state": examination.state,
        "examined": redact(examination.examined),
        "why_not": redact(examination.why_not),
        "findings": [
            {
                "id": finding.id,
                "severity": finding.severity,
                "sentence": redact(finding.sentence),
                "cure": redact(finding.cure),
            }
            for finding in examination.findings
        ],
    }


def _describe_platform(root: Path) -> dict[str, str]:
    release = dict(line.partition("=")[::2] for line in _read(root / "etc/os-release").splitlines())
    name, number = (release.get(key, "").strip('"') for key in ("ID", "VERSION_ID"))
    kernel, board = re.match(r"\d+\.\d+", platform.release()), _BOARD.match(_read(root / "proc/device-tree/model"))
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "kernel": kernel[0] if kernel else "another",
        "distribution": name if name in _DISTRIBUTIONS else "another",
        "distribution_version": number if _VERSION.fullmatch(number) else "another",
        "board": board[0] if board else "another",
        "python": platform.python_version(),
    }


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _find_version(package: str) -> str:
    try:
        found = version(package).partition("+")[0]  # what follows names a build
    except PackageNotFoundError:
        return "not installed"
    return found if _VERSION.fullmatch(found) else "another"


def _mask_section(section: Any) -> dict[str, Any]:
    types = get_type_hints(type(section))
    return {field.name: mask_value(types[field.name], getattr(section, field.name)) for field in fields(section)}


def mask_value(kind: Any, value: Any) -> Any:
    """Returns a number or one of a fixed list of words as it is; of all else whether it is set, or what kind it is."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if value in _choices_of(kind):
        return value
    if isinstance(value, tuple):
        return f"{len(value)} set"
    text = str(value)
    if is_url(text):
        return "a URL"
    return "set" if text else ""


def _choices_of(kind: Any) -> list[Any]:
    """Returns the words of a Literal, or of those in a union."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in _choices_of(part)]


def _read_messages(templates: Sequence[MessageTemplate], run: Run) -> tuple[list[str], str]:
    """Returns the last messages of the daemons, redacted, or why there are none."""
    try:
        output = run(_JOURNAL)
    except (OSError, subprocess.SubprocessError) as error:
        return [], f"journalctl does not answer ({type(error).__name__})"
    lines = [_PRIORITY.sub("", line).removeprefix("asr33: ") for line in output.splitlines()[-MAX_MESSAGES:]]
    return [redact_message(line, templates) for line in lines], "" if lines else "the journal has none, or hides them"


def _run_command(words: Sequence[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
