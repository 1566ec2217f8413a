"""A repository of the hub: what one is called, what it holds, and which of its files make a model.

It knows neither network nor disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from model.errors import ModelError

# OpenAI's four, at the commits that their owner has left them at since 2024.
PINNED = {
    "gpt2": ("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
    "gpt2-medium": ("openai-community/gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "gpt2-large": ("openai-community/gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519"),
    "gpt2-xl": ("openai-community/gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2"),
}
CONFIG, TENSORS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".ot")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
SMALL = 100_000_000  # bytes: the vocabulary of the largest models has a third of that
COMMIT = re.compile(r"[0-9a-f]{40}")


class RepositoryRefused(ModelError):
    """What is in the repository is no model that asr33 can make anything of."""

    exit_code = 65


@dataclass(frozen=True, slots=True)
class Address:
    """A repository and the revision that is wanted: a branch, a tag or a commit."""

    repository: str
    revision: str

    @property
    def fixed(self) -> bool:
        """Whether it is the same files for ever."""
        return COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as the hub tells of it: `digest` is the sha256 of a large one, and git's sha1 of a small one."""

    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit."""

    address: Address
    files: dict[str, Stored]
    licence: str = ""


def parse(text: str) -> Address:
    """Of `gpt2`, ORG/NAME or either with @REVISION. Raises ValueError."""
    where, at, revision = text.removeprefix("https://huggingface.co/").partition("@")
    repository, pinned = PINNED.get(where, (where, ""))
    if not pinned:
        pinned = dict(PINNED.values()).get(repository, "main")
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise ValueError(f"{text!r} is neither ORG/NAME nor one of {', '.join(PINNED)}")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{text!r}: behind the @ goes a branch, a tag or a commit")
    return Address(repository, revision or pinned)


def name_of(address: Address) -> str:
    """What the model is called where nobody says."""
    return address.repository.partition("/")[2]


def small_files(files: Mapping[str, Stored], where: str) -> tuple[str, ...]:
    """What is fetched before the weights: the configuration, the vocabulary, maybe the index of the weights.

    Raises RepositoryRefused if one of them is not there or cannot be one, or the weights are not there.
    """
    there = set(files)
    if CONFIG not in there:
        raise RepositoryRefused(f"{where}: has no {CONFIG}, so no model in it; name another repository")
    if TENSORS not in there and INDEX not in there:
        raise RepositoryRefused(_no_weights(there, where))
    vocabulary = next((each for each in VOCABULARIES if there >= set(each)), None)
    if vocabulary is None:
        raise RepositoryRefused(f"{where}: has neither tokenizer.json nor vocab.json with merges.txt; name another")
    names = (CONFIG, *vocabulary) if TENSORS in there else (CONFIG, *vocabulary, INDEX)
    for name in names:
        if files[name].bytes > SMALL:
            raise RepositoryRefused(f"{where}: its {name} has {files[name].bytes} bytes, so it is none; name another")
    return names


def weight_files(files: Container[str], index: str | None, where: str) -> Sequence[str]:
    """The safetensors: the one, or those that the text of an index names. Raises RepositoryRefused."""
    if index is None:
        return (TENSORS,)
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
        known = all(_SHARD.fullmatch(name) and name in files for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, known = [], False
    if not names or not known:
        raise RepositoryRefused(f"{where}: its {INDEX} does not tell where the weights are; name another repository")
    return names


def _no_weights(there: set[str], where: str) -> str:
    pickled = sorted(name for name in there if name.endswith(PICKLED))
    if pickled:
        return (
            f"{where}: its weights are only in {pickled[0]}, which may run a stranger's program when it is opened; "
            f"ask for {TENSORS}, or name another repository"
        )
    return f"{where}: has no {TENSORS}; name another repository"
