"""Writes the copy index of a model from its training documents. `model.store.copy_index` reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.build.memorisation import Hashes, WordHasher, hash_runs
from model.errors import ModelError
from model.store.atomic_file import replace_atomically
from model.store.copy_index import (
    BITS_PER_RUN,
    INDEX_FILE,
    MAX_BYTES,
    PROBES,
    STEP_SALT,
    IndexHeader,
    key_of_model,
)
from model.store.manifest import read_manifest
from model.words import MIX_MULTIPLIERS, split_words

RUNS_AT_ONCE = 1 << 16
FALSE_TRIALS = 400_000  # other runs, to measure how many the index takes for its own

OnDocuments = Callable[[int, int], None]  # gets (documents done, documents in all)


def write_copy_index(
    folder: Path, documents: Sequence[str], run_length: int, on_progress: OnDocuments = lambda done, total: None
) -> IndexHeader:
    """Writes the index beside the model. Raises ModelError, also if no document has so many words."""
    sha256 = read_manifest(folder).graph_sha256
    hasher = WordHasher(key_of_model(sha256))
    hashes: list[Hashes] = []
    for number, document in enumerate(documents, start=1):
        hashes.append(hash_runs(hasher.hash_words(split_words(document)), run_length))
        on_progress(number, len(documents))
    runs = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
    if not len(runs):
        raise ModelError(f"no document has {run_length} words; give the texts that it was trained on", "damaged")
    bits = min(8 * MAX_BYTES, max(64, round(len(runs) * BITS_PER_RUN)))
    table = np.zeros((bits + 7) // 8, np.uint8)
    for start in range(0, len(runs), RUNS_AT_ONCE):
        places = _find_places(runs[start : start + RUNS_AT_ONCE], bits)
        np.bitwise_or.at(table, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))
    header = IndexHeader(run_length, len(runs), bits, sha256, _measure_false_rate(table, bits))
    try:
        with replace_atomically(folder / INDEX_FILE) as temporary:
            temporary.write_bytes(header.encode() + table.tobytes())
    except OSError as error:
        raise ModelError(f"{folder / INDEX_FILE}: cannot be written ({error.strerror}); make room", "create") from None
    return header


def _find_places(runs: Hashes, bits: int) -> Hashes:
    """The bits of all runs, in one row."""
    places, steps = _mix(runs), _mix(runs ^ np.uint64(STEP_SALT)) | np.uint64(1)
    return np.concatenate([(places + np.uint64(probe) * steps) % np.uint64(bits) for probe in range(PROBES)])


def _mix(numbers: Hashes) -> Hashes:
    for shift, multiplier in zip((30, 27), MIX_MULTIPLIERS, strict=True):
        numbers = (numbers ^ numbers >> np.uint64(shift)) * np.uint64(multiplier)
    return numbers ^ numbers >> np.uint64(31)


def _measure_false_rate(table: NDArray[np.uint8], bits: int) -> float:
    """The share of random runs that the table has."""
    random = np.random.default_rng(33)
    found = 0
    for start in range(0, FALSE_TRIALS, RUNS_AT_ONCE):
        count = min(RUNS_AT_ONCE, FALSE_TRIALS - start)
        places = _find_places(random.integers(0, 2**64, count, np.uint64), bits)
        is_set = table[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8) & np.uint8(1)
        found += int(np.count_nonzero(is_set.reshape(PROBES, count).all(axis=0)))
    return found / FALSE_TRIALS
