"""Saves and loads a run: weights and optimiser as safetensors (never pickle), the state as JSON.

A checkpoint is replaced in one move. The module does not know the steps that made it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.errors import ModelDamaged
from model.store.atomic_file import replace_atomically
from tools.cli.errors import ToolError
from tools.train.run_folder import CHECKPOINT_FILE


@dataclass(slots=True)
class TrainState:
    """The state of a run. `elapsed_s` counts the time in steps, so a machine that sleeps does not age the run.

    `first` and `best` are losses of the held-out text in nats per token, before the first step and after `best_step`.
    `looks` counts the evaluations since `best_step`, all without improvement. `averaged` steps are in the mean.
    """

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    first: float | None = None
    best: float | None = None
    best_step: int = 0
    looks: int = 0
    averaged: int = 0


Optimisers = dict[str, torch.optim.Optimizer]
Tensors = Mapping[str, Tensor]
NO_TENSORS: Tensors = MappingProxyType({})


def trainable_tensors(net: nn.Module) -> dict[str, Tensor]:
    """The tensors that a run changes: all, or those that are not frozen."""
    trainable = {name for name, p in net.named_parameters() if p.requires_grad}
    return {name: value for name, value in net.state_dict().items() if name in trainable}


def save_checkpoint(
    path: Path, train_state: TrainState, net: nn.Module, optimisers: Optimisers, average: Tensors = NO_TENSORS
) -> None:
    """Writes a new file and renames it: a kill at any moment leaves the old checkpoint or the new one."""
    tensors = {f"net.{name}": value.detach().contiguous() for name, value in trainable_tensors(net).items()}
    tensors |= {f"mean.{name}": value.contiguous() for name, value in average.items()}
    for label, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{label}.{index}.{key}"] = value.contiguous()
    try:
        with replace_atomically(path, path.with_suffix(".part")) as temporary:
            save_file(tensors, temporary, metadata={"progress": json.dumps(asdict(train_state))})
    except (OSError, SafetensorError) as error:
        cure = f"make room, then {_resume_hint(path)}"
        raise ToolError(f"{path}: the checkpoint cannot be written ({error}); {cure}", "output") from None


def _resume_hint(path: Path) -> str:
    """How to resume from the previous checkpoint, if there is one. The best weights alone are not enough."""
    try:
        step = read_state(path.with_name(CHECKPOINT_FILE)).step
    except ModelDamaged:
        return "give the command again: nothing of this run is kept yet, and it begins from the start"
    return f"the same command, without --fresh, goes on from step {step}"


def read_state(path: Path) -> TrainState:
    """The state in a checkpoint; its tensors are not read. Raises ModelDamaged."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return TrainState(**json.loads(header["__metadata__"]["progress"]))
    except (OSError, OverflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        raise _damaged_checkpoint(path, error) from None


def load_checkpoint(path: Path, net: nn.Module, optimisers: Optimisers, average: Tensors = NO_TENSORS) -> TrainState:
    """Loads a checkpoint into net, optimisers and average; returns its state. Raises ModelDamaged."""
    train_state = read_state(path)
    try:
        tensors = load_file(path)
        _load_net(net, {name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        for name, value in average.items() if train_state.averaged else ():
            value.copy_(tensors[f"mean.{name}"])
        for label, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"{label}."):
                    _, index, key = name.split(".", 2)
                    state.setdefault(int(index), {})[key] = value
            state_dict: dict[str, Any] = optimiser.state_dict() | {"state": state}
            optimiser.load_state_dict(state_dict)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _damaged_checkpoint(path, error) from None
    return train_state


def _load_net(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads the tensors. Raises RuntimeError unless they are exactly the tensors that a run changes."""
    missing, unexpected = net.load_state_dict(tensors, strict=False)
    if absent := set(missing) & set(trainable_tensors(net)):
        raise RuntimeError(f"it lacks {min(absent)}")
    if unexpected:
        raise RuntimeError(f"its {min(unexpected)} is not in the net")


def _damaged_checkpoint(path: Path, error: Exception) -> ModelDamaged:
    # torch gives the reason for a mismatched state dict in the last line.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelDamaged(f"{path}: not a checkpoint of this run ({lines[-1].strip()}); --fresh begins the run again")
