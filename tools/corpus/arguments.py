"""The arguments of `asr33 corpus`: their values, and the options of cleaning that two of its actions share."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from model.store import store
from tools.cli.arguments import split_numbers
from tools.corpus.cleaning import STEPS, CleaningOptions


def add_cleaning_arguments(parser: argparse.ArgumentParser, description: str) -> None:
    cleaning = parser.add_argument_group("cleaning", description)
    person_help = "part of a name: keep this person's texts and the messages before them (default: all people)"
    cleaning.add_argument("--person", metavar="NAME", help=person_help)
    since_help = "first date to keep, as 2019 or 2019-06-30 (default: all dates)"
    cleaning.add_argument("--since", type=parse_date, metavar="DATE", help=since_help)
    anonymous_help = "replace names, numbers and addresses by invented ones (default: off)"
    cleaning.add_argument("--anonymous", action="store_true", help=anonymous_help)
    drop_help = "whole text to drop, * for any characters; may be repeated (default: none)"
    cleaning.add_argument("--drop", action="append", default=[], metavar="TEXT", help=drop_help)
    without_help = "steps to leave out, separated by commas (default: none); the steps are listed below"
    cleaning.add_argument("--without", action="append", metavar="STEP", help=without_help)
    width = max(map(len, STEPS))
    steps = (f"  {step.name:{width}}  {step.description}" for step in STEPS.values())
    parser.epilog = "cleaning steps:\n" + "\n".join(steps)


def read_cleaning_options(args: argparse.Namespace) -> CleaningOptions | None:
    """Returns the options on the command line, or None if there are none."""
    without = frozenset(step.strip() for value in args.without or () for step in value.split(",") if step.strip())
    options = CleaningOptions(args.person or "", args.since, args.anonymous, without, drop=tuple(args.drop))
    return None if options == CleaningOptions() else options


def parse_name(text: str) -> str:
    if not store.MODEL_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: use letters, digits, dots, dashes and underlines")
    return text


def parse_path(text: str) -> Path:
    if not text:  # an unset shell variable; Path("") would be the working folder
        raise argparse.ArgumentTypeError("an empty path; name a file, a folder or a ZIP")
    return Path(text)


def parse_numbers(text: str) -> frozenset[int]:
    try:
        return split_numbers(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers from 1, separated by commas") from None


def parse_count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def parse_date(text: str) -> float:
    """Returns the start of the year, month or day, in UTC."""
    try:
        year, month, day = ([int(part) for part in text.split("-")] + [1, 1])[:3]
        return datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2019, 2019-06 or 2019-06-30") from None
