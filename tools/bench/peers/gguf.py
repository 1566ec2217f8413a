"""Writes GPT-2's weights as a GGUF file in float32, the format of llama.cpp. It does not know llama.cpp itself.

The format is ggml's docs/gguf.md, version 3. Without a vocabulary the model takes ids and gives logits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from model.interface import GPT2Config

if TYPE_CHECKING:
    from tools.bench.shared_weights import Weights

GGUF_VERSION = 3
ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
F32 = 0
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3  # token types
EPSILON = 1e-5

_LAYER_NAMES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
MetadataValue = str | int | float | bool | Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """A byte-level BPE: its tokens in GPT-2's spelling by id, its merges in order, and the id of the end of text."""

    tokens: Sequence[str]
    merges: Sequence[tuple[str, str]]
    end_of_text: int


def write_gguf(weights: Weights, shape: GPT2Config, path: Path, vocabulary: GgufVocabulary | None = None) -> None:
    metadata = _architecture_metadata(shape) | _tokenizer_metadata(vocabulary)
    tensors = list(_tensor_names(shape))
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_encode_string(key) + _encode_value(value))
        offset = 0
        for target, source in tensors:
            # GGUF's linear layers are [out, in], GPT-2's [in, out]; and GGUF gives the fastest dimension first.
            size = weights[source].shape if _is_transposed(source) else weights[source].shape[::-1]
            file.write(_encode_string(target) + struct.pack(f"<I{len(size)}QIQ", len(size), *size, F32, offset))
            offset += -(-weights[source].nbytes // ALIGNMENT) * ALIGNMENT
        _write_padding(file)
        for _, source in tensors:
            tensor = weights[source]
            file.write((tensor.T if _is_transposed(source) else tensor).tobytes())
            _write_padding(file)


def _architecture_metadata(shape: GPT2Config) -> dict[str, MetadataValue]:
    return {
        "general.architecture": "gpt2",
        "gpt2.vocab_size": shape.vocab_size,
        "gpt2.context_length": shape.n_positions,
        "gpt2.embedding_length": shape.n_embd,
        "gpt2.feed_forward_length": 4 * shape.n_embd,
        "gpt2.block_count": shape.n_layer,
        "gpt2.attention.head_count": shape.n_head,
        "gpt2.attention.layer_norm_epsilon": EPSILON,
    }


def _tokenizer_metadata(vocabulary: GgufVocabulary | None) -> dict[str, MetadataValue]:
    if vocabulary is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    types = [TOKEN_NORMAL] * len(vocabulary.tokens)
    types[vocabulary.end_of_text] = TOKEN_CONTROL
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in vocabulary.merges],
        "tokenizer.ggml.bos_token_id": vocabulary.end_of_text,
        "tokenizer.ggml.eos_token_id": vocabulary.end_of_text,
        "tokenizer.ggml.add_bos_token": True,  # asr33 begins every text with it
    }


def _tensor_names(shape: GPT2Config) -> Iterator[tuple[str, str]]:
    """Yields (name in GGUF, name in GPT-2) of each tensor."""
    yield "token_embd.weight", "wte.weight"
    yield "position_embd.weight", "wpe.weight"
    pairs = {
        f"h.{layer}.{source}": f"blk.{layer}.{name}"
        for layer in range(shape.n_layer)
        for source, name in _LAYER_NAMES.items()
    }
    pairs["ln_f"] = "output_norm"
    for source, target in pairs.items():
        yield f"{target}.weight", f"{source}.weight"
        yield f"{target}.bias", f"{source}.bias"


def _is_transposed(name: str) -> bool:
    return ".c_" in name and name.endswith(".weight")


def _encode_string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _encode_value(value: MetadataValue) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _encode_string(value)
    if isinstance(value, Sequence):
        return struct.pack("<I", ARRAY) + _encode_array(value)
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    kind, form = (UINT32, "<II") if isinstance(value, int) else (FLOAT32, "<If")
    return struct.pack(form, kind, value)


def _encode_array(values: Sequence[str] | Sequence[int]) -> bytes:
    items = [_encode_string(value) if isinstance(value, str) else struct.pack("<i", value) for value in values]
    kind = STRING if isinstance(values[0], str) else INT32
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def _write_padding(file: IO[bytes]) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))
