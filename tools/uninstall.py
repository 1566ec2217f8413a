"""Takes away what `asr33 install` wrote, and stops the services. Your configuration, logs and models stay.

A file that you changed is kept and named.

sudo asr33 uninstall --dry-run
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.cli.output import print_message
from tools.install.command import add_root_arguments, checked_root
from tools.install.manifest import plan_removal, read_manifest, remove_files
from tools.install.program_check import check_user
from tools.install.services import disable_services, stop_services

_DATA_FOLDERS = ("etc/asr33", "var/lib/asr33", "var/log/asr33")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_root_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ToolError."""
    root = checked_root(args.root)
    if not args.dry_run:
        check_user(root, "uninstall")
    manifest = read_manifest(root)
    if manifest is None:
        print_message("asr33: asr33 install has written nothing here")
        return 0
    changes = plan_removal(manifest, root)
    if not args.dry_run:
        if root == Path("/"):
            stop_services()
        remove_files(manifest, changes, root)
        disable_services(root)
    for change in changes:
        if change.action == "remove":
            print_message(f"asr33: {'would remove' if args.dry_run else 'removed'} {change.path}")
        elif change.action == "keep":
            print_message(f"asr33: kept {change.path}: it was changed; delete it yourself")
    stay = [f"/{folder}" for folder in _DATA_FOLDERS if (root / folder).exists()]
    if stay and not args.dry_run:
        print_message(f"asr33: yours stay: {', '.join(stay)} and the user asr33; sudo rm -r deletes the folders")
    return 0
