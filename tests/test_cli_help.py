"""The help of every option has its noun, its unit and its default."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from tools.main import COMMANDS, import_command

UNITS = {
    "S": "second",
    "MS": r"\bms\b|millisecond",
    "MB": r"\bMi?B\b",
    "BYTES": "byte",
    "PERCENT": "percent",
    "N": r"\w{3,}",
    "FILE": r"\w{3,}",
}
HAS_DEFAULT = re.compile(r"default|required", re.IGNORECASE)
VAGUE = re.compile(r"\b(whoever|whomever|nobody|somebody|what is|that which|so many|so much)\b|\.\.\.", re.I)


def parsers() -> Iterator[argparse.ArgumentParser]:
    for name in COMMANDS:
        module = import_command(name)
        parser = argparse.ArgumentParser(prog=f"asr33 {name}", description=module.__doc__)
        module.add_arguments(parser)
        yield from with_children(parser)


def with_children(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from with_children(child)


def options() -> list[tuple[str, argparse.Action, str]]:
    return [
        (
            f"{parser.prog} {'/'.join(action.option_strings) or action.dest}",
            action,
            (action.help or "") % help_values(parser, action),
        )
        for parser in parsers()
        for action in parser._actions
        if action.help is not argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]


def help_values(parser: argparse.ArgumentParser, action: argparse.Action) -> dict[str, object]:
    return {**vars(action), "prog": parser.prog}


OPTIONS = options()


@pytest.mark.parametrize(("name", "action", "text"), OPTIONS, ids=[name for name, _, _ in OPTIONS])
def test_the_help_of_an_option_has_noun_unit_and_default(name: str, action: argparse.Action, text: str) -> None:
    words = re.sub(r"\(.*?\)", "", text).split()
    assert len(words) >= 2, "a noun and what it is for"
    assert not text.endswith("."), "a part of a sentence, as in all other options"
    assert not VAGUE.search(text)
    if not action.option_strings or action.nargs == 0:
        return
    assert action.required or HAS_DEFAULT.search(text), "its default, also where that is none"
    unit = UNITS.get(action.metavar if isinstance(action.metavar, str) else "")
    assert unit is None or re.search(unit, text, re.IGNORECASE), f"its unit: {unit}"


def test_every_command_describes_itself_in_a_sentence() -> None:
    for parser in parsers():
        if parser.prog.count(" ") == 1:  # actions of a command have their help line
            assert re.match(r"[^.]{20,}[.:]", parser.description or ""), parser.prog
