"""The fidelity of each candidate: how far its logits are from those of our float32 graph with the same weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.candidates import REFERENCE, Candidate
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.measure import BenchSettings, PreparedModels, load_model
from tools.bench.progress import BenchProgress
from tools.bench.results import CandidateQuality
from tools.bench.worker_client import open_worker

Logits = NDArray[np.float32]
Windows = Sequence[Sequence[int]]  # each with the id that follows it
CHUNK_ROWS = 64  # positions compared at a time: they are in float64, and a vocabulary may be large


def measure_fidelity(
    prepared: PreparedModels,
    settings: BenchSettings,
    windows: Windows,
    folder: Path,
    *,
    is_text: bool,
    on_progress: BenchProgress,
) -> None:
    """Sets the quality of each result. A candidate that fails here gets a fault and keeps its times."""
    results = [result for result in prepared.results if not result.fault]
    if not windows or REFERENCE not in [result.candidate for result in results]:
        return
    reference_files: list[Path] = []
    for result in sorted(results, key=lambda result: result.candidate != REFERENCE):
        candidate = result.candidate
        on_progress(f"comparing logits: {candidate.name}")
        try:
            files = _write_logits(candidate, prepared, settings, windows, folder)
            reference_files = reference_files or files
            result.quality = compute_quality(_logit_pairs(reference_files, files, windows), is_text=is_text)
        except (WorkerFailed, PeerNotInstalled, ValueError) as error:
            result.fault = f"{candidate.name}: {error}" if isinstance(error, ValueError) else str(error)
            if not reference_files:
                return
        on_progress(f"comparing logits: {candidate.name}", 1)
        for file in files if files is not reference_files else []:
            file.unlink()


def _write_logits(
    candidate: Candidate, prepared: PreparedModels, settings: BenchSettings, windows: Windows, folder: Path
) -> list[Path]:
    """Writes a file of logits for each window."""
    files = [folder / f"{candidate.slug}-{number}.npy" for number in range(len(windows))]
    with open_worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        load_model(process, candidate, prepared.folders[candidate.name], settings)
        for window, file in zip(windows, files, strict=True):
            process.ask("logits", ids=window[:-1], to=str(file))
    return files


def _logit_pairs(
    reference_files: Sequence[Path], candidate_files: Sequence[Path], windows: Windows
) -> Iterator[tuple[Logits, Logits, list[int]]]:
    for reference, candidate, window in zip(reference_files, candidate_files, windows, strict=True):
        yield np.load(reference, mmap_mode="r"), np.load(candidate, mmap_mode="r"), list(window[1:])


def split_windows(ids: Sequence[int], length: int) -> list[list[int]]:
    """Cuts the ids into runs of `length` inputs, each with the id that follows it."""
    return [list(ids[start : start + length + 1]) for start in range(0, len(ids) - length, length)]


def compute_quality(pairs: Iterable[tuple[Logits, Logits, Sequence[int]]], *, is_text: bool) -> CandidateQuality:
    """Compares logits. Each item is (reference [S, V], candidate [S, V], the S ids that followed in the text)."""
    divergence, agreed, positions, log_ratio = 0.0, 0, 0, 0.0
    for reference, candidate, targets in pairs:
        for p, q, ids in _log_probabilities(reference, candidate, targets):
            divergence += float((np.exp(p) * (p - q)).sum())
            agreed += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
            rows = np.arange(len(ids))
            log_ratio += float((p[rows, ids] - q[rows, ids]).sum())
            positions += len(ids)
    perplexity = math.exp(log_ratio / positions) if is_text else None
    return CandidateQuality(divergence / positions, agreed / positions, positions, perplexity)


def _log_probabilities(
    reference: Logits, candidate: Logits, targets: Sequence[int]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]:
    if reference.shape != candidate.shape:
        raise ValueError(f"logits of {list(candidate.shape)} where {list(reference.shape)} should be")
    for start in range(0, len(targets), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield _log_softmax(reference[rows]), _log_softmax(candidate[rows]), np.asarray(targets[rows], np.int64)


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x
