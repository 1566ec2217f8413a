"""Argument types and options that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from model.interface import PARAMETERS, SamplingParameters


def add_sampling_arguments(
    parser: argparse.ArgumentParser,
    defaults: SamplingParameters,
    names: Iterable[str] = PARAMETERS,
    *,
    is_configured: bool = False,
) -> None:
    """Adds a flag for each named parameter. `is_configured`: the configuration checks it and has its default."""
    metadata = {field.name: field.metadata for field in fields(defaults)}
    for name in names:
        parameter, default = PARAMETERS[name], getattr(defaults, name)
        shown = metadata[name].get("default", "none" if default is None else default)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=parameter.kind if is_configured else ranged_number(parameter.kind, *parameter.bounds),
            default=None if is_configured else default,
            metavar=parameter.metavar,
            help=f"{parameter.help} (default {shown})",
        )


def ranged_number(kind: type[float], minimum: float, maximum: float) -> Callable[[str], float]:
    """Returns a parser for argparse that takes numbers of the kind from `minimum` to `maximum`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            noun = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {noun} from {minimum:,} to {maximum:,}")
        return value

    return parse


def split_numbers(text: str) -> frozenset[int]:
    """Returns the numbers of a list such as `10,14`, each at least 1. Raises ValueError."""
    numbers = frozenset(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError(text)
    return numbers


def add_machine_argument(parser: argparse.ArgumentParser) -> None:
    text = "the machine's profile, as asr33 calibrate writes it (default: machine.toml of the system and the user)"
    parser.add_argument("--machine", type=Path, metavar="FILE", help=text)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    text = "a TOML file over those of the system and the user (default: none)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
