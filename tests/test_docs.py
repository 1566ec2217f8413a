"""Everything that the documents name exists: tests, commands and their options, settings, files, functions."""

import argparse
import ast
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from daemon import commands, config
from model.client import failover
from tools.main import COMMANDS, import_command

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"`(tests/test_\w+\.py)(?:::(\w+))?`")
SERVER_PAGE = (ROOT / "docs/server.md").read_text()
CAPACITY_PAGE = (ROOT / "docs/capacity.md").read_text()
README = (ROOT / "README.md").read_text()


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
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 31))
    missing = []
    for row in rows:
        named = NAME.findall(row)
        assert named, row
        for file, test in named:
            if not test or test not in _tests_in(ROOT / file):
                missing.append(f"{file}::{test}")
    assert not missing


@pytest.mark.parametrize("said", _commands(SERVER_PAGE) + _commands(CAPACITY_PAGE))
def test_every_command_on_the_way_to_the_far_end_is_one_that_asr33_takes(said: str) -> None:
    command, *words = shlex.split(said)
    assert command in COMMANDS
    _parser(command).parse_args(words)


def test_every_option_on_the_way_to_the_far_end_is_one_of_the_server_or_the_daemon():
    known = {word for command in ("serve", "run") for word in _parser(command)._option_string_actions}
    alone = {span.split()[0] for span in _spans(SERVER_PAGE) if span.startswith("--") and not span.endswith("--")}
    assert alone
    assert alone <= known


@pytest.mark.parametrize("text", _blocks(SERVER_PAGE, "toml"))
def test_every_setting_on_the_way_to_the_far_end_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    config.load_config(
        {}, {"XDG_CONFIG_HOME": str(tmp_path)}, config_file=tmp_path / "config.toml", system_folder=tmp_path
    )


def test_the_files_on_the_way_to_the_far_end_are_there():
    named = re.findall(r"(?<![/\w])(?:systemd|tests)/[\w.@-]*\w", SERVER_PAGE)
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_what_the_paper_says_without_a_server_is_what_the_document_says():
    assert {f"`{said.strip()}`" for said in commands.NOTICE_TEXTS.values()} == set(re.findall(r"`--.*--`", SERVER_PAGE))
    assert (failover.LOCAL_AFTER_S, failover.NOTICE_AFTER_S) == (2, 10), "the document has these in words"


def _reference() -> ModuleType:
    """docs/reference.py, which writes two of the pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "configuration.md"])
def test_a_reference_page_is_what_the_code_says(page: str) -> None:
    wanted = _reference().PAGES[page]().rstrip("\n") + "\n"
    assert (ROOT / "docs" / page).read_text() == wanted, "run: python docs/reference.py"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 90


@pytest.mark.parametrize(
    "said",
    _commands(README)
    + [
        f"{line.split('asr33 ', 1)[1].split('  #')[0]}"
        for line in README.splitlines()
        if re.match(r"    (\S*/)?asr33 ", line)
    ],
)
def test_every_command_of_the_readme_is_one_that_asr33_takes(said: str) -> None:
    command, *words = shlex.split(said)
    assert command in COMMANDS
    if words and "FILE" not in words:
        _parser(command).parse_args(words)


def test_every_page_of_the_documents_is_linked_from_the_readme() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert not [page for page in pages if f"docs/{page}" not in README]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def _defined(path: Path) -> set[str]:
    """Functions, classes, methods as Class.method, and constants of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{one.name}" for one in node.body if hasattr(one, "name")}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


OVERVIEW = [
    [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/code-overview.md").read_text().splitlines()
    if line.startswith("| ") and line.count("|") == 4 and "`" in line
]


@pytest.mark.parametrize(("about", "files", "names"), OVERVIEW)
def test_every_file_and_function_of_the_code_overview_exists(
    about: list[str], files: list[str], names: list[str]
) -> None:
    paths = [ROOT / file for file in files if re.search(r"/.*\.py$", file)]
    assert len(paths) <= 3
    assert not [path for path in paths if not path.is_file()]
    there: set[str] = set().union(*map(_defined, paths))
    assert not [
        name for name in names if re.fullmatch(r"[\w.]+", name) and not name.endswith(".py") and name not in there
    ]
