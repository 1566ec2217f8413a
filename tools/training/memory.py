"""What a run will take of memory, and how few sequences at once it must make do with. Data in, data out; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.base import Shape
from tools.training.errors import MemoryShort

NUMBER = 4  # bytes
SEQUENCES = 2  # a share: 1,024 tokens at context 512, whose activations stay near the core that works on them
HEAD_CHUNK = 256  # rows of logits alive at once: 256 x 8192 floats stay in a desktop's last-level cache
BLOCK = 19  # numbers that a block keeps for its gradient, in widths, of every token
STREAM = 4  # the same of what is before and behind the blocks, and its gradient
EXPORT = 3  # nets at once while the export is proved: torch's, the same rounded, and the engine's
PROGRAM = 700 << 20  # torch, its libraries, this program and a text of 40 MB (measured on 2026-11-21)
MARGIN = 0.9  # of what is free: the estimate is one


@dataclass(frozen=True, slots=True)
class Load:
    """What is in memory at once: `sequences` of the context on each of `threads`; `moved` numbers of the net learn."""

    shape: Shape
    moved: int
    matrices: int  # of those that are moved, the numbers that Muon moves
    sequences: int
    threads: int = 1
    average: bool = False
    half: bool = False

    @property
    def bytes(self) -> int:
        kept = self.shape.parameters + self.moved * (1 + self.average)  # weights, gradient, mean
        kept += 2 * self.moved - self.matrices  # momentum of Muon, both moments of AdamW
        apart = self.moved + self.shape.n_positions * self.sequences * self._token  # a share's gradient, and what for
        head = 2 * HEAD_CHUNK * self.shape.vocab_size
        saved = self.moved * 4 - self.matrices  # a checkpoint is a copy
        training = kept + max(self.threads * (apart + head), saved)
        # On a card the export is in another memory.
        return PROGRAM + NUMBER * (training if self.half else max(training, EXPORT * self.shape.parameters))

    @property
    def _token(self) -> int:
        numbers = self.shape.n_embd * (STREAM + self.shape.n_layer * BLOCK)
        return numbers // 2 if self.half else numbers


def moved(shape: Shape, lora: int) -> tuple[int, int]:
    """(numbers that learn, those among them that are Muon's)."""
    width = shape.n_embd
    if lora:
        return shape.n_layer * lora * (4 + 2 + 5 + 5) * width, 0  # in and out of the four linears of a block
    return shape.parameters, shape.n_layer * 12 * width**2


def fitting(load: Load, free: int | None) -> Load:
    """The same with as many sequences at once as fit what is free. Raises MemoryShort where not one does."""
    if free is None:
        return load
    while load.bytes > MARGIN * free and load.sequences > 1:
        load = replace(load, sequences=(load.sequences + 1) // 2)
    while load.bytes > MARGIN * free and load.threads > 1:
        load = replace(load, threads=load.threads - 1)
    if load.bytes > MARGIN * free:
        lighter = "a smaller base, or --lora 8" if load.moved == load.shape.parameters else "a smaller base"
        most = words(int(MARGIN * free))
        raise MemoryShort(f"the run needs about {words(load.bytes)} of memory, and can have {most}: take {lighter}")
    return load


def words(count: int) -> str:
    """Of bytes, for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
