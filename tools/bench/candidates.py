"""Who is measured: engines and the widths in which each holds the same weights. Pure; it starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from model.interface import GPT2Config

EngineName = Literal["ours", "ctranslate2", "llama.cpp", "transformers"]
Width = Literal["4 bit", "8 bit", "float"]

SIZES = {
    "124M": GPT2Config(50257, 1024, 768, 12, 12),
    "355M": GPT2Config(50257, 1024, 1024, 24, 16),
    "tiny": GPT2Config(1024, 256, 256, 2, 4),
}
BLOCK_SIZES = (32, 64, 128)
INT4_BLOCK = 128  # of `asr33 model make --as int4`
# How a person gets a peer; none of them is a dependency of asr33.
INSTALL_HINTS: dict[EngineName, str] = {
    "ctranslate2": "pip install ctranslate2",
    "llama.cpp": "pip install llama-cpp-python",
    "transformers": "pip install torch transformers",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One engine with the weights in one form. `form` is the engine's own word for it."""

    engine: EngineName
    form: str
    width: Width
    block: int = 0
    stored: bool = False  # a model's own file, whose form is its folder's name

    @property
    def name(self) -> str:
        return f"{self.engine} {self.form}" + (f" b{self.block}" if self.block else "")

    @property
    def slug(self) -> str:
        return self.name.replace(" ", "-")


REFERENCE = Candidate("ours", "float32", "float")


def asr33_candidates(shape: GPT2Config) -> list[Candidate]:
    """Our graph in every width that the model's width allows; without a block, as `asr33 model make` makes it."""
    blocks = [block for block in BLOCK_SIZES if shape.n_embd % block == 0]
    eight = [Candidate("ours", "int8", "8 bit", block) for block in (0, *blocks) if blocks]
    four = [Candidate("ours", "int4", "4 bit", block) for block in (0, *blocks[:1]) if blocks]
    return [*eight, *four, REFERENCE]


def stored_candidate(name: str, shape: GPT2Config, file_bytes: int, training: Mapping[str, Any]) -> Candidate:
    """A model of ours as it lies there. Where its manifest does not tell the width, its size does."""
    rounding = training.get("rounding")
    if isinstance(rounding, dict) and rounding.get("bits") in (4, 8) and isinstance(rounding.get("block"), int):
        return Candidate("ours", name, "8 bit" if rounding["bits"] == 8 else "4 bit", rounding["block"], stored=True)
    a_number = file_bytes / shape.parameters
    return Candidate("ours", name, "float" if a_number > 1.9 else "8 bit" if a_number > 0.95 else "4 bit", stored=True)


def peer_candidates(shape: GPT2Config) -> list[Candidate]:
    """The others; llama.cpp's blocks of 256 need a width that they divide."""
    llama: list[tuple[str, Width]] = [("f16", "float"), ("q8_0", "8 bit"), ("q4_0", "4 bit")]
    if shape.n_embd % 256 == 0:
        llama.append(("q4_k_m", "4 bit"))
    return [
        Candidate("ctranslate2", "int8", "8 bit"),
        Candidate("ctranslate2", "float32", "float"),
        *(Candidate("llama.cpp", form, width) for form, width in llama),
        Candidate("transformers", "float32", "float"),
    ]


def filter_by_name(candidates: list[Candidate], substrings: list[str]) -> list[Candidate]:
    """Those whose name has one of the words; all where there is no word."""
    return [one for one in candidates if not substrings or any(word in one.name for word in substrings)]


def weights_per_step(shape: GPT2Config) -> int:
    """How many weights one step multiplies by: the linear layers and the head."""
    return 12 * shape.n_layer * shape.n_embd**2 + shape.vocab_size * shape.n_embd


def weight_bytes_per_step(candidate: Candidate, shape: GPT2Config, file_bytes: int) -> int:
    """How many bytes of weights one step must read from memory."""
    weights = weights_per_step(shape)
    positions = shape.n_positions * shape.n_embd
    if candidate.engine == "llama.cpp":  # a mix of its own making: what lies in the file, but for the positions
        return file_bytes - 4 * positions
    if candidate.block or (candidate.width == "4 bit" and candidate.engine == "ours"):
        # Beside the codes a scale for each block, in 4 bits a zero point too.
        code, each = (1.0, 4.0) if candidate.width == "8 bit" else (0.5, 4.5)
        return round(weights * (code + each / (candidate.block or INT4_BLOCK)))
    if candidate.width == "float":  # float16 is cast when it is loaded
        return 4 * weights
    if not candidate.stored:
        return weights
    # The head lies apart from the embedding, of which a step reads one row.
    apart = weights + shape.vocab_size * shape.n_embd
    return round((file_bytes - 2 * positions) * weights / apart)
