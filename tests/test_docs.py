"""What the documents name must be there: tests, commands and their options, settings, files."""

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from daemon import commands, config
from model.client import failover
from tools.main import COMMANDS, import_command

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"`(tests/test_\w+\.py)(?:::(\w+))?`")
FAR_END = (ROOT / "docs/far-end.md").read_text()
SCALE = (ROOT / "docs/scale.md").read_text()


def _tests_in(path: Path) -> set[str]:
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, defined)}


def _blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _spans(text: str) -> list[str]:
    """Code in the lines of a text, blocks left out."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def _commands(text: str) -> list[str]:
    """What is said to asr33 in a text, each from the command's name on."""
    lines = [line for block in _blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = (re.search(r"(?:^|[\s/])asr33 ([a-z].*)", line) for line in [*lines, *_spans(text)])
    return [match[1] for match in found if match]


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    import_command(command).add_arguments(parser)
    return parser


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


@pytest.mark.parametrize("said", _commands(FAR_END) + _commands(SCALE))
def test_every_command_on_the_way_to_the_far_end_is_one_that_asr33_takes(said: str) -> None:
    command, *words = shlex.split(said)
    assert command in COMMANDS
    _parser(command).parse_args(words)


def test_every_option_on_the_way_to_the_far_end_is_one_of_the_server_or_the_daemon():
    known = {word for command in ("serve", "run") for word in _parser(command)._option_string_actions}
    alone = {span.split()[0] for span in _spans(FAR_END) if span.startswith("--") and not span.endswith("--")}
    assert alone
    assert alone <= known


@pytest.mark.parametrize("text", _blocks(FAR_END, "toml"))
def test_every_setting_on_the_way_to_the_far_end_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    config.load_config(
        {}, {"XDG_CONFIG_HOME": str(tmp_path)}, config_file=tmp_path / "config.toml", system_folder=tmp_path
    )


def test_the_files_on_the_way_to_the_far_end_are_there():
    named = re.findall(r"(?<![/\w])(?:systemd|tests)/[\w.@-]*\w", FAR_END)
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_what_the_paper_says_without_a_server_is_what_the_document_says():
    assert {f"`{said.strip()}`" for said in commands.NOTICE_TEXTS.values()} == set(re.findall(r"`--.*--`", FAR_END))
    assert (failover.LOCAL_AFTER_S, failover.NOTICE_AFTER_S) == (2, 10), "the document has these in words"
