"""What can go wrong with a training run; every message names the cure, in one line."""

from __future__ import annotations

from model.errors import ModelError


class TrainingError(ModelError):
    """The root: something about a run that its user can mend."""


class OptionRefused(TrainingError, ValueError):
    """A number or a name on the command line that no run can have."""

    exit_code = 2  # as argparse ends


class OtherRun(TrainingError, ValueError):
    """A run of that name was begun with other texts, another seed or another shape."""

    exit_code = 2  # as argparse ends


class TorchMissing(TrainingError, ImportError):
    """The extra that training needs is not installed."""

    exit_code = 69


class RunHalted(TrainingError, ArithmeticError):
    """Numbers that are none: a loss that is not finite, an export that does not say what torch says."""

    exit_code = 70


class MemoryShort(TrainingError, MemoryError):
    """There is less memory than the run needs, however small the batch is cut."""

    exit_code = 71


class DeviceMissing(TrainingError, RuntimeError):
    """The device that was asked for is not in this machine, or torch cannot use it."""

    exit_code = 69


class RunUnwritten(TrainingError, OSError):
    """The disk does not take what a run must leave on it."""

    exit_code = 74
    __str__ = Exception.__str__
