"""A run on disk: weights and optimiser as safetensors (never pickle), the rest as JSON, replaced in one move.

It knows nothing of the steps that made the numbers.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.errors import ModelDamaged
from tools.training.errors import RunUnwritten


@dataclass(slots=True)
class Progress:
    """Where a run stands. `elapsed_s` counts time spent in steps, so a machine that slept does not age the run."""

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0


Optimisers = dict[str, torch.optim.Optimizer]


def save(path: Path, progress: Progress, net: torch.nn.Module, optimisers: Optimisers) -> None:
    """Write to a file beside, sync, rename: a kill at any moment leaves the old checkpoint or the new one."""
    tensors = {f"net.{name}": value.detach().contiguous() for name, value in net.state_dict().items()}
    for label, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{label}.{index}.{key}"] = value.contiguous()
    beside = path.with_suffix(".part")
    try:
        save_file(tensors, beside, metadata={"progress": json.dumps(asdict(progress))})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            beside.unlink()
        raise RunUnwritten(
            f"{path}: the checkpoint cannot be written ({error}); make room, then the same command goes on"
        ) from None


def read_progress(path: Path) -> Progress:
    """Where the run of a checkpoint stands; its numbers stay on disk."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return Progress(**json.loads(header["__metadata__"]["progress"]))
    except (OSError, OverflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def load(path: Path, net: torch.nn.Module, optimisers: Optimisers) -> Progress:
    """Put a checkpoint's numbers into net and optimisers; returns where the run stood."""
    progress = read_progress(path)
    try:
        tensors = load_file(path)
        net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        for label, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"{label}."):
                    _, index, key = name.split(".", 2)
                    state.setdefault(int(index), {})[key] = value
            whole: dict[str, Any] = optimiser.state_dict() | {"state": state}
            optimiser.load_state_dict(whole)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from None
    return progress


def _damaged(path: Path, error: Exception) -> ModelDamaged:
    # Of a state dict that does not fit, torch says first that it does not, and last why.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelDamaged(f"{path}: not a checkpoint of this run ({lines[-1].strip()}); --fresh begins the run again")
