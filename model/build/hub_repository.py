"""A repository of the Hugging Face hub: its address, its files, and which of them make a model. Knows no network."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from model.errors import ModelError

# OpenAI's four models; their owner has not changed these commits since 2024.
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
MAX_VOCABULARY_BYTES = 64 << 20  # the vocabularies of the largest models have half of this
MAX_JSON_BYTES = 4 << 20  # of a configuration, and of the index of split weights
SHARD_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")


class DownloadRejected(ModelError):
    """The repository has no usable model, or a file cannot be kept: the download folder is deleted."""

    kind = "damaged"


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository and a revision: a branch, a tag or a commit."""

    repository: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return COMMIT_PATTERN.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """Size and hash of a file in the listing: `digest` is the sha256 of a large file, git's sha1 of a small one."""

    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class RepositoryListing:
    """The files of a repository at one commit."""

    address: HubAddress
    files: dict[str, HubFile]
    licence: str = ""


def parse_address(text: str) -> HubAddress:
    """Parses `gpt2` and the like, or ORG/NAME, each with an optional @REVISION. Raises ValueError."""
    where, at, revision = text.removeprefix("https://huggingface.co/").partition("@")
    repository, pinned = PINNED_MODELS.get(where, (where, ""))
    if not pinned:
        pinned = dict(PINNED_MODELS.values()).get(repository, "main")
    if not _REPOSITORY_PATTERN.fullmatch(repository) or ".." in repository or "--" in repository:
        raise ValueError(f"{text!r} is neither ORG/NAME nor one of {', '.join(PINNED_MODELS)}")
    if at and (not _REVISION_PATTERN.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{text!r}: after the @, write a branch, a tag or a commit")
    return HubAddress(repository, revision or pinned)


def model_name_of(address: HubAddress) -> str:
    """The default name of the local model."""
    return address.repository.partition("/")[2]


def small_files(files: Mapping[str, HubFile], where: str) -> tuple[str, ...]:
    """The files to fetch before the weights: configuration, vocabulary, and the index of split weights.

    Raises DownloadRejected if such a file is absent or too large, or if the repository has no weights.
    """
    present = set(files)
    if CONFIG_FILE not in present:
        raise DownloadRejected(f"{where}: has no {CONFIG_FILE}, so it holds no model; name another repository")
    if WEIGHTS_FILE not in present and WEIGHTS_INDEX_FILE not in present:
        raise DownloadRejected(_no_weights_message(present, where))
    vocabulary = next((names for names in VOCABULARY_FILES if present >= set(names)), None)
    if vocabulary is None:
        raise DownloadRejected(f"{where}: has neither tokenizer.json nor vocab.json with merges.txt; name another")
    names = (CONFIG_FILE, *vocabulary) if WEIGHTS_FILE in present else (CONFIG_FILE, *vocabulary, WEIGHTS_INDEX_FILE)
    for name in names:
        most = MAX_JSON_BYTES if name in (CONFIG_FILE, WEIGHTS_INDEX_FILE) else MAX_VOCABULARY_BYTES
        if (size := files[name].bytes) > most:
            raise DownloadRejected(f"{where}: its {name} has {size} bytes, which is too large; name another")
    return names


def weight_files(files: Container[str], index: str | None, where: str) -> Sequence[str]:
    """The weights: one file, or the files that the text of an index names. Raises DownloadRejected."""
    if index is None:
        return (WEIGHTS_FILE,)
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
        known = all(SHARD_PATTERN.fullmatch(name) and name in files for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, known = [], False
    if not names or not known:
        problem = f"its {WEIGHTS_INDEX_FILE} does not tell where the weights are"
        raise DownloadRejected(f"{where}: {problem}; name another repository")
    return names


def _no_weights_message(present: set[str], where: str) -> str:
    pickled = sorted(name for name in present if name.endswith(PICKLE_SUFFIXES))
    if pickled:
        return (
            f"{where}: its weights are only in {pickled[0]}, which may run a stranger's program when it is opened; "
            f"ask for {WEIGHTS_FILE}, or name another repository"
        )
    return f"{where}: has no {WEIGHTS_FILE}; name another repository"
