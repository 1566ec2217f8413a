"""What can go wrong with a corpus, in one line that names the cure."""

from __future__ import annotations


class CorpusError(Exception):
    """Of the user's making unless a subclass says otherwise."""

    exit_code = 65  # EX_DATAERR of sysexits.h


class CorpusNotFound(CorpusError):
    """No corpus, or no file, of that name."""

    exit_code = 66  # EX_NOINPUT


class CorpusDamaged(CorpusError):
    """What lies in a corpus's folder is not what was written there."""


class NothingTaken(CorpusError):
    """Not one text in all that was handed over."""


class MemberError(CorpusError):
    """A file that is not read for what it would do: too large, a bomb, encrypted, or not what it claims."""


class StepUnknown(CorpusError):
    """A step of cleaning is to be left out that is none."""

    exit_code = 64  # EX_USAGE


class CorpusBusy(CorpusError):
    """Another process is adding to the corpus."""

    exit_code = 75  # EX_TEMPFAIL


class CorpusUnwritten(CorpusError):
    """The disk refuses what is to be kept."""

    exit_code = 73  # EX_CANTCREAT
