"""The candidates of a benchmark: each engine with the same weights in several precisions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from model.interface import GPT2Config

EngineName = Literal["ours", "ctranslate2", "llama.cpp", "transformers"]
BackendName = Literal["ours", "arrival", "ctranslate2", "llama"]  # of the load test
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)
OWN_BACKENDS: tuple[BackendName, ...] = (
    "ours",
    "arrival",
)  # both are asr33's engine; arrival: first come, first served
Width = Literal["4 bit", "8 bit", "float"]

SIZES = {
    "124M": GPT2Config(50257, 1024, 768, 12, 12),
    "355M": GPT2Config(50257, 1024, 1024, 24, 16),
    "tiny": GPT2Config(1024, 256, 256, 2, 4),
}
BLOCK_SIZES = (32, 64, 128)
INT4_BLOCK = 128  # of `asr33 model make --as int4`
# The command that installs each peer; asr33 depends on none of them.
INSTALL_HINTS: dict[EngineName, str] = {
    "ctranslate2": "pip install ctranslate2",
    "llama.cpp": "pip install llama-cpp-python",
    "transformers": "pip install torch transformers",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One engine with the weights in one form. `form` is the engine's own name of it. The fields are JSON keys."""

    engine: EngineName
    form: str
    width: Width
    block: int = 0
    stored: bool = False  # an existing model folder; `form` is its name

    @property
    def name(self) -> str:
        return f"{self.engine} {self.form}" + (f" b{self.block}" if self.block else "")

    @property
    def slug(self) -> str:
        return self.name.replace(" ", "-")


REFERENCE = Candidate("ours", "float32", "float")


def asr33_candidates(shape: GPT2Config) -> list[Candidate]:
    """Returns our graph in each precision that the model's width allows. Block 0 is that of `asr33 model make`."""
    blocks = [block for block in BLOCK_SIZES if shape.n_embd % block == 0]
    int8 = [Candidate("ours", "int8", "8 bit", block) for block in (0, *blocks) if blocks]
    int4 = [Candidate("ours", "int4", "4 bit", block) for block in (0, *blocks[:1]) if blocks]
    return [*int8, *int4, REFERENCE]


def stored_candidate(name: str, shape: GPT2Config, file_bytes: int, training: Mapping[str, Any]) -> Candidate:
    """Returns the candidate of a stored model. If its manifest does not give the precision, the file size does."""
    rounding = training.get("rounding")
    if isinstance(rounding, dict) and rounding.get("bits") in (4, 8) and isinstance(rounding.get("block"), int):
        return Candidate("ours", name, "8 bit" if rounding["bits"] == 8 else "4 bit", rounding["block"], stored=True)
    per_weight = file_bytes / shape.parameters
    width: Width = "float" if per_weight > 1.9 else "8 bit" if per_weight > 0.95 else "4 bit"
    return Candidate("ours", name, width, stored=True)


def peer_candidates(shape: GPT2Config) -> list[Candidate]:
    """Returns the candidates of the other engines. llama.cpp's K-quants need a width that is a multiple of 256."""
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
    """Returns the candidates whose name contains any of the substrings; all without substrings."""
    return [c for c in candidates if not substrings or any(part in c.name for part in substrings)]


def weights_per_step(shape: GPT2Config) -> int:
    """How many weights one decode step multiplies by: the linear layers and the head."""
    return 12 * shape.n_layer * shape.n_embd**2 + shape.vocab_size * shape.n_embd


def weight_bytes_per_step(candidate: Candidate, shape: GPT2Config, file_bytes: int) -> int:
    """How many bytes of weights one decode step must read from memory."""
    weights = weights_per_step(shape)
    positions = shape.n_positions * shape.n_embd
    if candidate.engine == "llama.cpp":  # its file mixes formats; only the float32 position embeddings are not read
        return file_bytes - 4 * positions
    if candidate.block or (candidate.width == "4 bit" and candidate.engine == "ours"):
        # Each block has a scale beside its codes; in 4 bits it has a zero point too.
        code, per_block = (1.0, 4.0) if candidate.width == "8 bit" else (0.5, 4.5)
        return round(weights * (code + per_block / (candidate.block or INT4_BLOCK)))
    if candidate.width == "float":  # float16 is cast to float32 when it is loaded
        return 4 * weights
    if not candidate.stored:
        return weights
    # The file holds the head and the embedding apart; a step reads one row of the embedding.
    stored_weights = weights + shape.vocab_size * shape.n_embd
    return round((file_bytes - 2 * positions) * weights / stored_weights)
