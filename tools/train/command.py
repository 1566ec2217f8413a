"""`asr33 train`: trains a model from random weights or from a base."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tools.cli.errors import ToolError
from tools.train import inputs, options
from tools.train.signals import StoppedBySignal, StopSignals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ToolError and ModelError. Returns 130 or 143 after a signal."""
    train_options = options.parse_options(args)
    inputs.require_readable(train_options.texts)  # before torch, which takes seconds to load
    with StopSignals() as signals:  # a signal while torch is loaded would look like a broken torch
        run_training = _import_run()
        try:
            signals.raise_if_stopped()
        except StoppedBySignal as stopped:
            return stopped.exit_code
    return run_training(train_options)


def _import_run() -> Callable[[options.TrainOptions], int]:
    """Raises ToolError if torch is not installed."""
    try:
        import torch
    except ImportError:
        cure = "pip install '.[cpu,train]'"
        raise ToolError(f"training needs torch, which is not installed: {cure}", "unavailable") from None
    # Each thread computes its own microbatch. Threads inside an operation would only wait for each other.
    torch.set_num_threads(1)

    from tools.train.device import keep_freed_memory
    from tools.train.run import run_training

    keep_freed_memory()
    return run_training
