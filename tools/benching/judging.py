"""The quality of every candidate: its logits of a text, or of random ids, beside those of our graph in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benching.candidates import JUDGE, Candidate
from tools.benching.errors import PeerAbsent, WorkerFailed
from tools.benching.pipe import worker
from tools.benching.progress import Tell
from tools.benching.run import Prepared, Setting, load

if TYPE_CHECKING:
    from tools.benching.quality import Logits

Windows = Sequence[Sequence[int]]  # each with the id that follows it


def judge(prepared: Prepared, setting: Setting, windows: Windows, to: Path, *, is_text: bool, tell: Tell) -> None:
    """Put a Quality with each result that has a judge. Who cannot be judged is noted, its times stay."""
    from tools.benching import quality

    whole = [result for result in prepared.results if not result.fault]
    if not windows or JUDGE not in [result.candidate for result in whole]:
        return
    truth: list[Path] = []
    for result in sorted(whole, key=lambda one: one.candidate != JUDGE):
        candidate = result.candidate
        tell(f"judging: {candidate.name}")
        try:
            files = _logits(candidate, prepared, setting, windows, to)
            truth = truth or files
            result.quality = quality.judge(_pairs(truth, files, windows), is_text=is_text)
        except (WorkerFailed, PeerAbsent, ValueError) as error:
            result.fault = f"{candidate.name}: {error}" if isinstance(error, ValueError) else str(error)
            if not truth:
                return
        tell(f"judging: {candidate.name}", 1)
        for file in files if files is not truth else []:
            file.unlink()


def _logits(candidate: Candidate, prepared: Prepared, setting: Setting, windows: Windows, to: Path) -> list[Path]:
    """A file of logits for each window."""
    files = [to / f"{candidate.slug}-{number}.npy" for number in range(len(windows))]
    with worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        load(process, candidate, prepared.folders[candidate.name], setting)
        for window, file in zip(windows, files, strict=True):
            process.ask("logits", ids=window[:-1], to=str(file))
    return files


def _pairs(
    truth: Sequence[Path], files: Sequence[Path], windows: Windows
) -> Iterator[tuple[Logits, Logits, list[int]]]:
    import numpy as np

    for reference, candidate, window in zip(truth, files, windows, strict=True):
        yield np.load(reference, mmap_mode="r"), np.load(candidate, mmap_mode="r"), list(window[1:])
