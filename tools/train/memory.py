"""What a run will take of memory, and how few sequences at once it must make do with. Data in, data out; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.interface import GPT2Config
from tools.train.errors import MemoryShort

FLOAT_BYTES = 4  # bytes
MICROBATCH_SEQUENCES = (
    2  # a share: 1,024 tokens at context 512, whose activations stay near the core that works on them
)
HEAD_CHUNK_ROWS = 256  # rows of logits alive at once: 256 x 8192 floats stay in a desktop's last-level cache
BLOCK_ACTIVATIONS = 19  # numbers that a block keeps for its gradient, in widths, of every token
STREAM_ACTIVATIONS = 4  # the same of what is before and behind the blocks, and its gradient
EXPORT_COPIES = 3  # nets at once while the export is proved: torch's, the same rounded, and the engine's
PROGRAM_BYTES = 700 << 20  # torch, its libraries, this program and a text of 40 MB (measured on 2026-11-21)
USABLE_SHARE = 0.9  # of what is free: the estimate is one


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What is in memory at once: `sequences` of the context on each of `threads`; `moved` numbers of the net learn."""

    shape: GPT2Config
    trainable: int
    muon_trainable: int  # of those that are moved, the numbers that Muon moves
    sequences: int
    threads: int = 1
    has_average: bool = False
    is_bfloat16: bool = False

    @property
    def total_bytes(self) -> int:
        kept = self.shape.parameters + self.trainable * (1 + self.has_average)  # weights, gradient, mean
        kept += 2 * self.trainable - self.muon_trainable  # momentum of Muon, both moments of AdamW
        apart = (
            self.trainable + self.shape.n_positions * self.sequences * self._activations_per_token
        )  # a share's gradient, and what for
        head = 2 * HEAD_CHUNK_ROWS * self.shape.vocab_size
        saved = self.trainable * 4 - self.muon_trainable  # a checkpoint is a copy
        training = kept + max(self.threads * (apart + head), saved)
        # On a card the export is in another memory.
        return PROGRAM_BYTES + FLOAT_BYTES * (
            training if self.is_bfloat16 else max(training, EXPORT_COPIES * self.shape.parameters)
        )

    @property
    def _activations_per_token(self) -> int:
        numbers = self.shape.n_embd * (STREAM_ACTIVATIONS + self.shape.n_layer * BLOCK_ACTIVATIONS)
        return numbers // 2 if self.is_bfloat16 else numbers


def count_trainable(shape: GPT2Config, lora_rank: int) -> tuple[int, int]:
    """(numbers that learn, those among them that are Muon's)."""
    width = shape.n_embd
    if lora_rank:
        return shape.n_layer * lora_rank * (4 + 2 + 5 + 5) * width, 0  # in and out of the four linears of a block
    return shape.parameters, shape.n_layer * 12 * width**2


def fit_to_memory(estimate: MemoryEstimate, free_bytes: int | None) -> MemoryEstimate:
    """The same with as many sequences at once as fit what is free. Raises MemoryShort where not one does."""
    if free_bytes is None:
        return estimate
    while estimate.total_bytes > USABLE_SHARE * free_bytes and estimate.sequences > 1:
        estimate = replace(estimate, sequences=(estimate.sequences + 1) // 2)
    while estimate.total_bytes > USABLE_SHARE * free_bytes and estimate.threads > 1:
        estimate = replace(estimate, threads=estimate.threads - 1)
    if estimate.total_bytes > USABLE_SHARE * free_bytes:
        lighter = "a smaller base, or --lora 8" if estimate.trainable == estimate.shape.parameters else "a smaller base"
        most = format_bytes(int(USABLE_SHARE * free_bytes))
        raise MemoryShort(
            f"the run needs about {format_bytes(estimate.total_bytes)} of memory, and can have {most}: take {lighter}"
        )
    return estimate


def format_bytes(count: int) -> str:
    """Of bytes, for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
