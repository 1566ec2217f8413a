"""The commands and settings as their parsers and dataclasses describe them: for the reference and the man pages.

Code is between backticks, as in Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

EXIT_CODES = {
    "0": "done; `run` and `demo` also after SIGINT or SIGTERM",
    "2": "usage: a wrong option or argument",
    "64": "a URL or a name that cannot exist",
    "65": "damaged or unsuitable data",
    "66": "no such file, model or corpus",
    "68": "this computer does not have the address to listen at",
    "69": "unavailable: no such line, a line in use or lost, no answer from a server, a package that is missing",
    "70": "an internal failure: numbers that are not finite, a failed worker",
    "71": "too little memory, or another refusal by the operating system",
    "73": "a file or folder cannot be created",
    "74": "output failed",
    "75": "busy: an operator is at the machine, or another process holds the model (`--wait` waits)",
    "76": "the other end broke the protocol, or refuses the request",
    "77": "not allowed",
    "78": "a wrong configuration",
    "129, 130, 143": "ended by SIGHUP; by Ctrl-C, Ctrl-D or BREAK; by SIGTERM",
}


@dataclass(frozen=True)
class CommandReference:
    """One command or one action of it: its name, purpose, details, and each argument with its meaning."""

    name: str
    purpose: str
    details: str
    arguments: tuple[tuple[str, str], ...]
    epilog: str


@dataclass(frozen=True)
class SettingReference:
    """One key of the configuration."""

    key: str
    type: str
    default: str
    range: str
    meaning: str


def describe_command(parser: argparse.ArgumentParser) -> Iterator[CommandReference]:
    """Yields the command of the parser, then its actions."""
    purpose, _, details = (parser.description or "").strip().partition("\n\n")
    yield CommandReference(
        name=parser.prog,
        purpose=" ".join(purpose.split()),
        details=inspect.cleandoc(details) if details else "",
        arguments=tuple((_action_name(action), _action_help(action, parser)) for action in visible_actions(parser)),
        epilog=inspect.cleandoc(parser.epilog) if parser.epilog else "",
    )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                child.description = child.description or next(
                    (one.help for one in action._choices_actions if child.prog.endswith(f" {one.dest}")), ""
                )
                yield from describe_command(child)


def visible_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Returns the options and arguments of a parser, without --help, the actions and what is hidden."""
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
        return value
    return ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")


def _action_help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    values = {**vars(action), "prog": parser.prog}
    return " ".join(((action.help or "") % values).split())


def describe_settings(kind: type[Any]) -> Iterator[SettingReference]:
    """Yields the keys of one section of the configuration."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield SettingReference(
            key=field.name,
            type=_type_name(hints[field.name]),
            default=_default_text(field),
            range=_range_text(field.metadata.get("range")),
            meaning=str(field.metadata["help"]),
        )


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
