"""Which files asr33 puts into a system, where, and with which content."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from daemon import config
from tools.cli.errors import ToolError
from tools.cli.reference import CommandReference, describe_command, describe_settings
from tools.install.completion import make_completions
from tools.install.man_pages import make_man_pages
from tools.main import COMMANDS, import_command

DEFAULT_PROGRAM = "/opt/asr33/bin/asr33"  # in the units of this repository
EXAMPLE_ADAPTER = "Prolific_Technology_Inc._USB-Serial_Controller"  # in its udev rule
UNITS = ("asr33@.service", "asr33-serve.service")
UDEV_RULE = "/etc/udev/rules.d/70-asr33.rules"
NEEDRESTART = "/etc/needrestart/conf.d/asr33.conf"


def make_files(program: str, adapter: str, prefix: str = "/usr/local", date: str | None = None) -> dict[str, bytes]:
    """Returns the content of each file by its absolute path. `adapter`: its ID_SERIAL, or "" for no rule in force."""
    library = f"{prefix}/lib"
    texts = {f"{library}/systemd/system/{unit}": _unit(unit, program) for unit in UNITS}
    texts[f"{library}/sysusers.d/asr33.conf"] = read_source("asr33.sysusers")
    texts[f"{library}/tmpfiles.d/asr33.conf"] = read_source("asr33.tmpfiles")
    texts[UDEV_RULE] = _udev_rule(adapter)
    texts[NEEDRESTART] = read_source("asr33.needrestart")
    commands = describe_all_commands()
    sections = {name: list(describe_settings(kind)) for name, kind in config.SECTIONS.items()}
    pages = make_man_pages(commands, COMMANDS, sections, version("asr33"), date or _date_of_installation())
    texts |= {f"{prefix}/share/man/man{name[-1]}/{name}": text for name, text in pages.items()}
    shells = make_completions(commands, COMMANDS)
    vendor = "vendor-completions" if prefix == "/usr" else "site-functions"
    texts[f"{prefix}/share/bash-completion/completions/asr33"] = shells["bash"]
    texts[f"{prefix}/share/zsh/{vendor}/_asr33"] = shells["zsh"]
    texts[f"{prefix}/share/fish/vendor_completions.d/asr33.fish"] = shells["fish"]
    return {path: text.encode() for path, text in sorted(texts.items())}


def _unit(name: str, program: str) -> str:
    return read_source(name).replace(DEFAULT_PROGRAM, program)


def _udev_rule(adapter: str) -> str:
    """Returns the rule for an adapter; without one its line is a comment, so that it matches no other adapter."""
    text = read_source("70-asr33.rules")
    return text.replace(EXAMPLE_ADAPTER, adapter) if adapter else text.replace("\nSUBSYSTEM", "\n#SUBSYSTEM")


def describe_all_commands() -> dict[str, list[CommandReference]]:
    """Returns each command with its actions, by its name."""
    described = {}
    for name in COMMANDS:
        module = import_command(name)
        parser = argparse.ArgumentParser(prog=f"asr33 {name}", description=module.__doc__)
        module.add_arguments(parser)
        described[name] = list(describe_command(parser))
    return described


def read_source(name: str) -> str:
    """Returns a file of the folder systemd/, in a wheel or in the repository. Raises ToolError."""
    places: list[Traversable] = [files("tools.install") / "files", Path(__file__).parents[2] / "systemd"]
    for place in places:
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8")
    raise ToolError(
        f"this asr33 lacks {name}, as a Debian package does, which has installed its own: apt remove asr33", "missing"
    )


def _date_of_installation() -> str:
    """Returns the date of the pages: the same at each run of one installation."""
    return f"{datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC):%Y-%m-%d}"
