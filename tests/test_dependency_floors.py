"""The lowest versions that pyproject.toml admits have no hole that was known when this file was written."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTS = {
    "dependencies": PROJECT["project"]["dependencies"],
    "build-system": PROJECT["build-system"]["requires"],
    **PROJECT["project"]["optional-dependencies"],
}
DECLARED = [(name, Requirement(text)) for name, texts in LISTS.items() for text in texts]

# The first version without the hole.
HOLES = {
    "h11": ("0.16", "CVE-2025-43859: the end of a chunk is not checked, so that requests can be smuggled"),
    "starlette": ("1.3.1", "CVE-2026-54283: a form without limits; CVE-2026-48710: a Host header that forges the URL"),
    "httpx2": ("2.12", "GHSA-8xx6-hgc6-gc2m: a small compressed answer fills the memory"),
    "onnx": ("1.22", "CVE-2026-34447, CVE-2026-34446: external data through links; an out-of-bounds read before 1.22"),
    "onnxruntime": ("1.25", "the security fixes of its release notes"),
    "onnxruntime-gpu": ("1.25", "the same"),
    "pillow": ("12.3", "CVE-2026-59205 and others: writes beyond the heap"),
    "pypdf": ("7.0", "CVE-2026-134366 and others: a small PDF fills the memory"),
    "torch": ("2.11", "CVE-2025-32434, CVE-2026-4538: loading a file runs its code"),
    "transformers": ("4.48", "CVE-2024-11392: reading a configuration runs its code"),
    "ray": ("2.52", "CVE-2025-62593: a web page runs code through the dashboard"),
    "llama-cpp-python": ("0.2.72", "CVE-2024-34359: a template of a model runs its code"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a package index writes outside the target folder"),
}
# model/server/http overrides internals of these, so that an untested version must not come in by itself.
BOUNDED_ABOVE = {"uvicorn", "h11", "starlette"}
UNBOUNDED = {"types-pyserial"}  # types alone, which are never run


def lowest(requirement: Requirement) -> Version | None:
    """The lowest version that is admitted."""
    floors = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    return max(floors, default=None)


@pytest.mark.parametrize(("list_name", "requirement"), DECLARED, ids=str)
def test_no_declared_version_has_a_known_hole(list_name: str, requirement: Requirement) -> None:
    floor = lowest(requirement)
    if requirement.name in UNBOUNDED:
        return
    assert floor, f"[{list_name}] {requirement}: a floor is missing"
    if requirement.name in HOLES:
        first_good, hole = HOLES[requirement.name]
        assert floor >= Version(first_good), f"[{list_name}] {requirement}: {hole}"


@pytest.mark.parametrize("name", sorted(BOUNDED_ABOVE))
def test_a_library_whose_internals_are_overridden_has_an_upper_bound(name: str) -> None:
    requirements = [requirement for _, requirement in DECLARED if requirement.name == name]
    assert requirements
    assert all(any(part.operator == "<" for part in requirement.specifier) for requirement in requirements)


def test_uvicorn_is_bounded_to_the_version_that_is_tested() -> None:
    import uvicorn

    requirement = next(
        requirement for name, requirement in DECLARED if (name, requirement.name) == ("serve", "uvicorn")
    )
    tested = Version(uvicorn.__version__)
    assert requirement.specifier.contains(tested)
    assert not requirement.specifier.contains(f"{tested.major}.{tested.minor + 1}")


def test_the_list_of_holes_names_only_what_is_declared() -> None:
    assert HOLES.keys() <= {requirement.name for _, requirement in DECLARED}


def test_the_tested_versions_are_all_admitted() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if "==" in line and not line.startswith("#"))
    wrong = [
        str(requirement)
        for _, requirement in DECLARED
        if (pin := pins.get(requirement.name.lower())) and not requirement.specifier.contains(pin)
    ]
    assert not wrong
