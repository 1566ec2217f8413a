"""Writes docs/commands.md and docs/configuration.md from the parsers and the configuration's dataclasses.

Run `python docs/reference.py` after a change of an option or a key. tests/test_docs.py compares pages and code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from daemon import config  # noqa: E402
from tools.cli.reference import EXIT_CODES, describe_command, describe_settings  # noqa: E402
from tools.main import COMMANDS, import_command  # noqa: E402

NOTE = "<!-- Written by `python docs/reference.py`. Do not edit. -->"


def commands_page() -> str:
    """One section a command: its purpose, then a table of its options."""
    lines = ["# Commands", "", NOTE, ""]
    lines += [f"* [`asr33 {name}`](#asr33-{name}): {purpose}" for name, purpose in COMMANDS.items()]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    lines += [""]
    for name in COMMANDS:
        module = import_command(name)
        parser = argparse.ArgumentParser(prog=f"asr33 {name}", description=module.__doc__)
        module.add_arguments(parser)
        lines += list(_command_section(parser))
    return "\n".join(lines)


def _command_section(parser: argparse.ArgumentParser) -> Iterator[str]:
    for command in describe_command(parser):
        yield from (f"## {command.name}", "", command.purpose, "")
        if command.details:
            yield f"```text\n{command.details}\n```"
            yield ""
        if command.arguments:
            yield "| argument | meaning |"
            yield "|---|---|"
            yield from (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in command.arguments)
            yield ""
        if command.epilog:
            yield f"```text\n{command.epilog}\n```"
            yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def configuration_page() -> str:
    """One table a section: key, type, default, range, meaning."""
    lines = [
        "# Configuration",
        "",
        NOTE,
        "",
        "The settings come from, in this order:",
        "",
        "1. options of the command;",
        "2. environment variables `ASR33_SECTION_KEY`, such as `ASR33_ANSWER_LENGTH`;",
        "3. the file named by `--config`;",
        "4. `config.toml` and `machine.toml` in `$CONFIGURATION_DIRECTORY`, in `~/.config/asr33` and in `/etc/asr33`.",
        "",
        "An unknown key is an error that names the nearest known one. `run`, `demo`, `print`, `punch` and",
        "`calibrate` read the settings, and `ask` reads `[model]` for a model at a URL.",
        "`asr33 calibrate` writes `[machine]` into `~/.config/asr33/machine.toml`.",
        "",
    ]
    for section, kind in config.SECTIONS.items():
        lines += [f"## [{section}]", "", "| key | type | default | range | meaning |", "|---|---|---|---|---|"]
        for setting in describe_settings(kind):
            row = (f"`{setting.key}`", setting.type, setting.default, setting.range, _cell(setting.meaning))
            lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join(lines)


PAGES = {"commands.md": commands_page, "configuration.md": configuration_page}

if __name__ == "__main__":
    for name, make_page in PAGES.items():
        (FOLDER / name).write_text(make_page().rstrip("\n") + "\n", encoding="utf-8")
