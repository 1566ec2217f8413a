"""The sessions of the past: list, show, search and forget them.

Every session at a machine is kept in a log, a file of JSON Lines. A SESSION is named by its date as `list` prints it,
or the beginning of that, by the name of its file, or as LAST. Each answer has a CODE of four characters.

asr33 log list
asr33 log show LAST
asr33 log search "difference engine" --since 2026-11
"""

from __future__ import annotations

import argparse
import importlib

from tools.log.log_folder import add_folder_arguments

# Each action is a module of this folder with add_arguments(parser) and run(args).
ACTIONS = {
    "list": "list the sessions",
    "show": "print a session, or one answer with its prompt",
    "search": "search lines, answers and printed texts",
    "codes": "list the answers of a session, with their codes",
    "forget": "remove an answer, a session or a person from the logs",
    "replay": "play a session again, in this terminal or on a machine",
    "reprint": "print an answer again, and say whether its model makes the same",
    "export": "write a session as asciicast, text, HTML, SVG, PNG or paper tape",
}


def add_arguments(parser: argparse.ArgumentParser, chosen: str = "") -> None:
    """Adds all actions. If one of them is `chosen` only its module is imported: a list need not load the player."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, summary in ACTIONS.items():
        if chosen in ACTIONS and name != chosen:
            actions.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"tools.log.{name}")
        action = actions.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(action)
        add_folder_arguments(action)
        action.set_defaults(action=module.run)


def main(args: argparse.Namespace) -> int:
    """Runs an action. Raises ToolError, DaemonError."""
    code: int = args.action(args)
    return code
