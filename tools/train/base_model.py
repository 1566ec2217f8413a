"""What a run begins from: one of our models, or a folder of the hub's files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from model.build import import_weights
from model.interface import GPT2Config
from model.store import store
from tools.train.gpt2 import Gpt2
from tools.train.run_config import HashedSource


@dataclass(frozen=True, slots=True)
class BaseModel:
    """`source` says which it was, `licence` what its manifest tells of that, if it has one."""

    source: HashedSource
    net: Gpt2
    tokenizer_json: str
    licence: str

    @property
    def shape(self) -> GPT2Config:
        return self.net.shape


def read_base(name_or_path: str) -> BaseModel:
    """Raises ModelNotFound and ModelDamaged: for weights that are rounded to few bits too, which nobody can train."""
    found = import_weights.read_source(name_or_path)
    with torch.device("meta"):  # no numbers are drawn that are not wanted
        net = Gpt2(found.shape)
    net.load_state_dict({name: torch.tensor(value) for name, value in found.weights.items()}, assign=True)
    source = HashedSource(_command_name(name_or_path, found.name), _hash_weights(name_or_path))
    return BaseModel(source, net, found.tokenizer_json, str(found.training.get("licence") or ""))


def _command_name(name_or_path: str, source_name: str) -> str:
    """That by which the same command finds it again; of a path, its last part."""
    return name_or_path if "/" not in name_or_path else source_name


def _hash_weights(name_or_path: str) -> str:
    """Of the file that has the weights; of several, of their hashes."""
    folder = Path(name_or_path)
    folder = folder if folder.is_dir() else folder.parent
    if not (folder / import_weights.CONFIG_FILE).is_file() or not (tensors := sorted(folder.glob("*.safetensors"))):
        return store.read_manifest(store.find_model(name_or_path)).graph_sha256
    hashes = []
    for path in tensors:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
