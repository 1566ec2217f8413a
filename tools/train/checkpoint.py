"""A run on disk: weights and optimiser as safetensors (never pickle), the rest as JSON, replaced in one move.

It knows nothing of the steps that made the numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.errors import ModelDamaged
from tools.train.errors import RunUnwritten
from tools.train.run_folder import CHECKPOINT_FILE


@dataclass(slots=True)
class TrainState:
    """Where a run stands. `elapsed_s` counts time spent in steps, so a machine that slept does not age the run.

    `first` and `best` are nats a token of the text held out, before the first step and after `best_step`; `looks` were
    taken since and found none better. `averaged` steps are in the mean.
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
NO_TENSORS: Mapping[str, Tensor] = MappingProxyType({})


def trainable_tensors(net: torch.nn.Module) -> dict[str, Tensor]:
    """What a run changes of a net: all of its state, or, where some of it is frozen, what is not."""
    moved = {name for name, p in net.named_parameters() if p.requires_grad}
    return {name: value for name, value in net.state_dict().items() if name in moved}


def save_checkpoint(
    path: Path,
    train_state: TrainState,
    net: torch.nn.Module,
    optimisers: Optimisers,
    average: Mapping[str, Tensor] = NO_TENSORS,
) -> None:
    """Write to a file beside, sync, rename: a kill at any moment leaves the old checkpoint or the new one."""
    tensors = {f"net.{name}": value.detach().contiguous() for name, value in trainable_tensors(net).items()}
    tensors |= {f"mean.{name}": value.contiguous() for name, value in average.items()}
    for label, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{label}.{index}.{key}"] = value.contiguous()
    beside = path.with_suffix(".part")
    try:
        save_file(tensors, beside, metadata={"progress": json.dumps(asdict(train_state))})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            beside.unlink()
        raise RunUnwritten(
            f"{path}: the checkpoint cannot be written ({error}); make room, then {_resume_hint(path)}"
        ) from None


def _resume_hint(path: Path) -> str:
    """What is there when a checkpoint is not: the one before it, if there was one. The best weights alone are none."""
    try:
        step = read_state(path.with_name(CHECKPOINT_FILE)).step
    except ModelDamaged:
        return "give the command again: nothing of this run is kept yet, and it begins anew"
    return f"the same command, without --fresh, goes on from step {step}"


def read_state(path: Path) -> TrainState:
    """Where the run of a checkpoint stands; its numbers stay on disk."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return TrainState(**json.loads(header["__metadata__"]["progress"]))
    except (OSError, OverflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        raise _damaged_checkpoint(path, error) from None


def load_checkpoint(
    path: Path, net: torch.nn.Module, optimisers: Optimisers, average: Mapping[str, Tensor] = NO_TENSORS
) -> TrainState:
    """Put a checkpoint's numbers into net, optimisers and mean; returns where the run stood."""
    progress = read_state(path)
    try:
        tensors = load_file(path)
        _load_net(net, {name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        for name, value in average.items() if progress.averaged else ():
            value.copy_(tensors[f"mean.{name}"])
        for label, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"{label}."):
                    _, index, key = name.split(".", 2)
                    state.setdefault(int(index), {})[key] = value
            whole: dict[str, Any] = optimiser.state_dict() | {"state": state}
            optimiser.load_state_dict(whole)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _damaged_checkpoint(path, error) from None
    return progress


def _load_net(net: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raises RuntimeError unless it has just what a run changes."""
    missing, unexpected = net.load_state_dict(tensors, strict=False)
    left = set(missing) & set(trainable_tensors(net))
    if left or unexpected:
        raise RuntimeError(f"it has not {min(left)}" if left else f"its {min(unexpected)} is none of the net's")


def _damaged_checkpoint(path: Path, error: Exception) -> ModelDamaged:
    # Of a state dict that does not fit, torch says first that it does not, and last why.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelDamaged(f"{path}: not a checkpoint of this run ({lines[-1].strip()}); --fresh begins the run again")
