"""Writes docs/commands.md and docs/configuration.md from the parsers and the configuration's dataclasses.

Run `python docs/reference.py` after a change of an option or a key. tests/test_docs.py compares pages and code.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from daemon import config  # noqa: E402
from tools.main import COMMANDS, import_command  # noqa: E402

NOTE = "<!-- Written by `python docs/reference.py`. Do not edit. -->"

EXIT_CODES = """## Exit codes

| code | meaning |
|---|---|
| 0 | done; `run` and `demo` also after SIGINT or SIGTERM |
| 2 | usage: a wrong option or argument |
| 64 | a URL or a name that cannot exist |
| 65 | damaged or unsuitable data |
| 66 | no such file, model or corpus |
| 68 | this computer does not have the address to listen at |
| 69 | unavailable: no such line, a line in use or lost, no answer from a server, a package that is missing |
| 70 | an internal failure: numbers that are not finite, a failed worker |
| 71 | too little memory, or another refusal by the operating system |
| 73 | a file or folder cannot be created |
| 74 | output failed |
| 75 | busy: an operator is at the machine, or another process holds the model (`--wait` waits) |
| 76 | the other end broke the protocol, or refuses the request |
| 77 | not allowed |
| 78 | a wrong configuration |
| 129, 130, 143 | ended by SIGHUP; by Ctrl-C, Ctrl-D or BREAK; by SIGTERM |
"""


def commands_page() -> str:
    """One section a command: its purpose, then a table of its options."""
    lines = ["# Commands", "", NOTE, ""]
    lines += [f"* [`asr33 {name}`](#asr33-{name}): {purpose}" for name, purpose in COMMANDS.items()]
    lines += ["", EXIT_CODES]
    for name in COMMANDS:
        module = import_command(name)
        parser = argparse.ArgumentParser(prog=f"asr33 {name}", description=module.__doc__)
        module.add_arguments(parser)
        lines += list(_command_section(parser))
    return "\n".join(lines)


def _command_section(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {parser.prog}"
    yield ""
    purpose, _, details = (parser.description or "").strip().partition("\n\n")
    yield " ".join(purpose.split())
    yield ""
    if details:
        yield f"```text\n{inspect.cleandoc(details)}\n```"
        yield ""
    rows = [(_action_name(action), _action_help(action, parser)) for action in _visible_actions(parser)]
    if rows:
        yield "| argument | meaning |"
        yield "|---|---|"
        yield from (f"| {name} | {text} |" for name, text in rows)
        yield ""
    if parser.epilog:
        yield f"```text\n{inspect.cleandoc(parser.epilog)}\n```"
        yield ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                child.description = child.description or next(
                    (one.help for one in action._choices_actions if child.prog.endswith(f" {one.dest}")), ""
                )
                yield from _command_section(child)


def _visible_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [
        action for action in parser._actions if not isinstance(action, hidden) and action.help is not argparse.SUPPRESS
    ]


def _action_name(action: argparse.Action) -> str:
    if action.metavar:
        value = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    else:
        value = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    if not action.option_strings:
        name = value
    else:
        name = ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")
    return f"`{name}`".replace("|", "\\|")


def _action_help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    values = {**vars(action), "prog": parser.prog}
    return " ".join(((action.help or "") % values).split()).replace("|", "\\|")


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
        hints = typing.get_type_hints(kind)
        lines += [f"## [{section}]", "", "| key | type | default | range | meaning |", "|---|---|---|---|---|"]
        for field in dataclasses.fields(kind):
            row = (
                f"`{field.name}`",
                _type_name(hints[field.name]),
                _default_text(field),
                _range_text(field.metadata.get("range")),
                str(field.metadata["help"]).replace("|", "\\|"),
            )
            lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join(lines)


def _type_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in args)
    if origin in (UnionType, typing.Union):
        return " or ".join(_type_name(value) for value in args if value is not NoneType)
    if origin is tuple:
        return f"list of {_type_name(args[0])}s"
    names = {str: "string", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _default_text(field: dataclasses.Field[Any]) -> str:
    if "default" in field.metadata:
        return str(field.metadata["default"])
    value = field.default if field.default is not dataclasses.MISSING else None
    match value:
        case None | "" | ():
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range_text(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else " to ".join(f"{int(end):,}" if end == int(end) else f"{end:g}" for end in bounds)


PAGES = {"commands.md": commands_page, "configuration.md": configuration_page}

if __name__ == "__main__":
    for name, make_page in PAGES.items():
        (FOLDER / name).write_text(make_page().rstrip("\n") + "\n", encoding="utf-8")
