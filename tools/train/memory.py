"""Estimates the memory of a run, and how many sequences at once fit. Pure; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.interface import GPT2Config
from tools.cli.errors import ToolError

FLOAT_BYTES = 4
MICROBATCH_SEQUENCES = 2  # 1,024 tokens at context 512: their activations fit a core's cache
ATTENTION_BLOCK_ROWS = 128  # fastest on a core of 64, 128, 256 and 512, at context 512 and heads of 64
HEAD_CHUNK_ROWS = 256  # rows of logits alive at once: 256 x 8192 floats fit a desktop's last-level cache
BLOCK_ACTIVATIONS = 19  # widths that a block keeps for each token, for its gradient
STREAM_ACTIVATIONS = 4  # widths kept for each token before and behind the blocks, with the gradient
EXPORT_COPIES = 3  # nets in memory while the export is checked: torch's, its rounded copy, and the engine's
PROGRAM_BYTES = 700 << 20  # torch, its libraries, this program and a text of 40 MB (measured on 2026-11-21)
USABLE_SHARE = 0.9  # of the free memory, since this is an estimate


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory of a run with `sequences` of the context on each of `threads`, and `trainable` parameters."""

    shape: GPT2Config
    trainable: int
    muon_trainable: int  # how many of the trainable parameters Muon trains
    sequences: int
    threads: int = 1
    has_average: bool = False
    is_bfloat16: bool = False
    is_cuda: bool = False

    @property
    def total_bytes(self) -> int:
        persistent = self.shape.parameters + self.trainable * (1 + self.has_average)  # weights, gradient, mean
        persistent += 2 * self.trainable - self.muon_trainable  # momentum of Muon, both moments of AdamW
        # The gradient of a microbatch, and its activations.
        microbatch = self.trainable + self.shape.n_positions * self.sequences * self._activations_per_token
        head = 2 * HEAD_CHUNK_ROWS * self.shape.vocab_size
        checkpoint = self.trainable * 4 - self.muon_trainable  # saving makes a copy
        training = persistent + max(self.threads * (microbatch + head), checkpoint)
        # With CUDA the export is in the CPU's memory.
        export = 0 if self.is_cuda else EXPORT_COPIES * self.shape.parameters
        return PROGRAM_BYTES + FLOAT_BYTES * max(training, export)

    @property
    def _activations_per_token(self) -> int:
        numbers = self.shape.n_embd * (STREAM_ACTIVATIONS + self.shape.n_layer * BLOCK_ACTIVATIONS)
        return numbers // 2 if self.is_bfloat16 else numbers


def count_trainable(shape: GPT2Config, lora_rank: int) -> tuple[int, int]:
    """The numbers of trainable parameters and of those that Muon trains."""
    width = shape.n_embd
    if lora_rank:
        return shape.n_layer * lora_rank * (4 + 2 + 5 + 5) * width, 0  # in and out of the four linears of a block
    return shape.parameters, shape.n_layer * 12 * width**2


def fit_to_memory(estimate: MemoryEstimate, free_bytes: int | None) -> MemoryEstimate:
    """Reduces sequences, then threads, until the run fits. Raises ToolError if one sequence does not fit."""
    if free_bytes is None:
        return estimate
    limit = USABLE_SHARE * free_bytes
    while estimate.total_bytes > limit and estimate.sequences > 1:
        estimate = replace(estimate, sequences=(estimate.sequences + 1) // 2)
    while estimate.total_bytes > limit and estimate.threads > 1:
        estimate = replace(estimate, threads=estimate.threads - 1)
    if estimate.total_bytes > limit:
        is_full = estimate.trainable == estimate.shape.parameters
        cure = "a smaller base, or --lora 8" if is_full else "a smaller base"
        needed = f"the run needs about {format_bytes(estimate.total_bytes)} of memory"
        raise ToolError(f"{needed}, and can have {format_bytes(int(limit))}: take {cure}", "system")
    return estimate


def format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
