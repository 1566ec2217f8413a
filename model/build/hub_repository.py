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
PINNED_MODELS = {
    "gpt2": ("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
    "gpt2-medium": ("openai-community/gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "gpt2-large": ("openai-community/gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519"),
    "gpt2-xl": ("openai-community/gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2"),
}
CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"
VOCABULARY_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".ot")
_REPOSITORY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_REVISION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_SHARD_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
MAX_SMALL_FILE_BYTES = 100_000_000  # bytes: the vocabulary of the largest models has a third of that
COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")


class RepositoryRefused(ModelError):
    """What is in the repository is no model that asr33 can make anything of."""

    exit_code = 65


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository and the revision that is wanted: a branch, a tag or a commit."""

    repository: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Whether it is the same files for ever."""
        return COMMIT_PATTERN.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub tells of it: `digest` is the sha256 of a large one, and git's sha1 of a small one."""

    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class RepositoryListing:
    """A repository at one commit."""

    address: HubAddress
    files: dict[str, HubFile]
    licence: str = ""


def parse_address(text: str) -> HubAddress:
    """Of `gpt2`, ORG/NAME or either with @REVISION. Raises ValueError."""
    where, at, revision = text.removeprefix("https://huggingface.co/").partition("@")
    repository, pinned = PINNED_MODELS.get(where, (where, ""))
    if not pinned:
        pinned = dict(PINNED_MODELS.values()).get(repository, "main")
    if not _REPOSITORY_PATTERN.fullmatch(repository) or ".." in repository or "--" in repository:
        raise ValueError(f"{text!r} is neither ORG/NAME nor one of {', '.join(PINNED_MODELS)}")
    if at and (not _REVISION_PATTERN.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{text!r}: behind the @ goes a branch, a tag or a commit")
    return HubAddress(repository, revision or pinned)


def model_name_of(address: HubAddress) -> str:
    """What the model is called where nobody says."""
    return address.repository.partition("/")[2]


def small_files(files: Mapping[str, HubFile], where: str) -> tuple[str, ...]:
    """What is fetched before the weights: the configuration, the vocabulary, maybe the index of the weights.

    Raises RepositoryRefused if one of them is not there or cannot be one, or the weights are not there.
    """
    there = set(files)
    if CONFIG_FILE not in there:
        raise RepositoryRefused(f"{where}: has no {CONFIG_FILE}, so no model in it; name another repository")
    if WEIGHTS_FILE not in there and WEIGHTS_INDEX_FILE not in there:
        raise RepositoryRefused(_no_weights_message(there, where))
    vocabulary = next((each for each in VOCABULARY_FILES if there >= set(each)), None)
    if vocabulary is None:
        raise RepositoryRefused(f"{where}: has neither tokenizer.json nor vocab.json with merges.txt; name another")
    names = (CONFIG_FILE, *vocabulary) if WEIGHTS_FILE in there else (CONFIG_FILE, *vocabulary, WEIGHTS_INDEX_FILE)
    for name in names:
        if files[name].bytes > MAX_SMALL_FILE_BYTES:
            raise RepositoryRefused(f"{where}: its {name} has {files[name].bytes} bytes, so it is none; name another")
    return names


def weight_files(files: Container[str], index: str | None, where: str) -> Sequence[str]:
    """The safetensors: the one, or those that the text of an index names. Raises RepositoryRefused."""
    if index is None:
        return (WEIGHTS_FILE,)
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
        known = all(_SHARD_PATTERN.fullmatch(name) and name in files for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, known = [], False
    if not names or not known:
        raise RepositoryRefused(
            f"{where}: its {WEIGHTS_INDEX_FILE} does not tell where the weights are; name another repository"
        )
    return names


def _no_weights_message(there: set[str], where: str) -> str:
    pickled = sorted(name for name in there if name.endswith(PICKLE_SUFFIXES))
    if pickled:
        return (
            f"{where}: its weights are only in {pickled[0]}, which may run a stranger's program when it is opened; "
            f"ask for {WEIGHTS_FILE}, or name another repository"
        )
    return f"{where}: has no {WEIGHTS_FILE}; name another repository"
