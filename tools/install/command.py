"""Puts asr33 into the system: systemd units, user, folders, udev rule, manual pages and the completion of shells.

A file that you changed is kept and named. `asr33 uninstall` takes away what this command wrote. A second run
replaces the files of an older version.

sudo asr33 install --dry-run
sudo asr33 install --adapter Prolific_Technology_Inc._USB-Serial_Controller_D
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.install.layout import UDEV_RULE, UNITS, make_files
from tools.install.manifest import InstallManifest, install_files, plan_installation, read_manifest
from tools.install.program_check import check_readable, check_user, find_own_program, paths_of_own_program
from tools.install.services import reload_services

_PLAIN_PATH = re.compile(r"/[\w./+@~-]+", re.ASCII)  # in a unit and in a shell it means itself
_ADAPTER = re.compile(r"[\w.:#+=@-]+", re.ASCII)  # as udev writes an ID_SERIAL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_root_arguments(parser)
    text = "ID_SERIAL of the USB adapter for the udev rule (default: that of the last install, or none)"
    parser.add_argument("--adapter", metavar="SERIAL", help=text)
    text = "the asr33 that the units start, a path inside DIR (default: the one that runs)"
    parser.add_argument("--program", metavar="PATH", help=text)


def add_root_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that install and uninstall share."""
    text = "the folder that has the system's files, for the image of a system (default: /)"
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help=text)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")


def main(args: argparse.Namespace) -> int:
    """Raises ToolError."""
    root = checked_root(args.root)
    if not args.dry_run:
        check_user(root, "install")
    old = read_manifest(root) or InstallManifest()
    new = replace(old, program=_choose_program(args.program, root), adapter=_choose_adapter(args.adapter, old))
    files = make_files(new.program, new.adapter)
    changes = plan_installation(files, old, root)
    if not args.dry_run:
        install_files(files, changes, old, new, root)
    for change in changes:
        if change.action in ("write", "replace", "remove"):
            print_message(f"asr33: {'would ' if args.dry_run else ''}{change.action} {change.path}")
        elif change.action == "keep":
            print_message(f"asr33: kept {change.path}: it was changed; delete it for the new one")
    for unit in UNITS:
        if (root / "etc/systemd/system" / unit).is_file():
            print_message(
                f"asr33: /etc/systemd/system/{unit} comes before the installed unit: delete it for the new one"
            )
    if all(change.action in ("unchanged", "keep", "gone") for change in changes):
        print_message("asr33: everything is in place already")
    elif not args.dry_run:
        if root == Path("/"):
            reload_services()
        print_message("asr33: next: sudo systemctl enable --now asr33@ttyAMA0 (or asr33@teletype, by --adapter)")
    return 0


def checked_root(root: Path) -> Path:
    """Returns the root as an absolute path. Raises ToolError."""
    if not root.is_dir():
        raise ToolError(f"{root} is no folder: name the folder that has the system's files", "missing")
    return root.absolute()


def _choose_program(given: str | None, root: Path) -> str:
    if given is None:
        own = find_own_program()
        check_readable(paths_of_own_program(own))
        program = str(own)
    else:
        program = given
    if not _PLAIN_PATH.fullmatch(program):
        raise ToolError(f"{program!r} cannot stand in a unit: name an absolute path without blanks", "argument")
    if given is not None:
        check_readable([Path(program)], root)
    return program


def _choose_adapter(given: str | None, old: InstallManifest) -> str:
    if given is None:
        return old.adapter
    if not _ADAPTER.fullmatch(given):
        raise ToolError(
            f"{given!r} is no ID_SERIAL: take it from udevadm info --query=property, see {UDEV_RULE}", "argument"
        )
    return given
