"""The table of behaviours names tests; they must be there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"`(tests/test_\w+\.py)(?:::(\w+))?`")


def _tests_in(path: Path) -> set[str]:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, defined)}


def test_every_behaviour_names_tests_that_are_there():
    rows = [line for line in (ROOT / "docs/behaviours.md").read_text().splitlines() if re.match(r"\| \d", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 26))
    missing = []
    for row in rows:
        named = NAME.findall(row)
        assert named, row
        for file, test in named:
            if not test or test not in _tests_in(ROOT / file):
                missing.append(f"{file}::{test}")
    assert not missing
