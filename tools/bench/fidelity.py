"""The quality of every candidate: its logits of a text, or of random ids, beside those of our graph in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.candidates import REFERENCE, Candidate
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.progress import BenchProgress
from tools.bench.run import BenchSettings, PreparedModels, load_model
from tools.bench.worker_client import open_worker

if TYPE_CHECKING:
    from tools.bench.quality import Logits

Windows = Sequence[Sequence[int]]  # each with the id that follows it


def measure_fidelity(
    prepared: PreparedModels,
    settings: BenchSettings,
    windows: Windows,
    folder: Path,
    *,
    is_text: bool,
    on_progress: BenchProgress,
) -> None:
    """Put a Quality with each result that has a judge. Who cannot be judged is noted, its times stay."""
    from tools.bench import quality

    whole = [result for result in prepared.results if not result.fault]
    if not windows or REFERENCE not in [result.candidate for result in whole]:
        return
    truth: list[Path] = []
    for result in sorted(whole, key=lambda one: one.candidate != REFERENCE):
        candidate = result.candidate
        on_progress(f"judging: {candidate.name}")
        try:
            files = _write_logits(candidate, prepared, settings, windows, folder)
            truth = truth or files
            result.quality = quality.compute_quality(_logit_pairs(truth, files, windows), is_text=is_text)
        except (WorkerFailed, PeerNotInstalled, ValueError) as error:
            result.fault = f"{candidate.name}: {error}" if isinstance(error, ValueError) else str(error)
            if not truth:
                return
        on_progress(f"judging: {candidate.name}", 1)
        for file in files if files is not truth else []:
            file.unlink()


def _write_logits(
    candidate: Candidate, prepared: PreparedModels, settings: BenchSettings, windows: Windows, folder: Path
) -> list[Path]:
    """A file of logits for each window."""
    files = [folder / f"{candidate.slug}-{number}.npy" for number in range(len(windows))]
    with open_worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        load_model(process, candidate, prepared.folders[candidate.name], settings)
        for window, file in zip(windows, files, strict=True):
            process.ask("logits", ids=window[:-1], to=str(file))
    return files


def _logit_pairs(
    reference_files: Sequence[Path], candidate_files: Sequence[Path], windows: Windows
) -> Iterator[tuple[Logits, Logits, list[int]]]:
    import numpy as np

    for reference, candidate, window in zip(reference_files, candidate_files, windows, strict=True):
        yield np.load(reference, mmap_mode="r"), np.load(candidate, mmap_mode="r"), list(window[1:])
