"""`asr33 train`: a model of one's own, from random weights or from a base."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tools.train import inputs, options
from tools.train.errors import TorchMissing
from tools.train.signals import StoppedBySignal, StopSignals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises TrainingError and ModelError, each with its exit code; 130 or 143 after a signal."""
    asked = options.parse_options(args)
    inputs.require_readable(asked.texts)  # before torch, which takes seconds to load
    with StopSignals() as stopping:  # a signal amid torch's loading would look like a torch that is broken
        run = _import_run()
        try:
            stopping.raise_if_stopped()
        except StoppedBySignal as stopped:
            return stopped.exit_code
    return run(asked)


def _import_run() -> Callable[[options.TrainOptions], int]:
    """Raises TorchMissing."""
    try:
        import torch
    except ImportError:
        raise TorchMissing("training needs torch, which is not installed: pip install '.[cpu,train]'") from None
    # Threads share a batch, not a matrix: torch's own would wait for each other at every operation.
    torch.set_num_threads(1)

    from tools.train.run import run_training

    return run_training
