"""GPT-2 in CTranslate2: its own specification, filled without torch, and its own loop; the only file that knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench import shared_weights
from tools.bench.engine import require_modules

if TYPE_CHECKING:
    from tools.bench.engine import Logits


def write_model(weights: Path, form: str, block: int, folder: Path) -> None:
    from ctranslate2.specs import Activation, TransformerDecoderModelSpec

    values, shape = shared_weights.load_weights(weights)
    spec = TransformerDecoderModelSpec.from_config(
        shape.n_layer, shape.n_head, pre_norm=True, activation=Activation.GELUTanh
    )
    _copy_weights(spec.decoder, values)
    words = _placeholder_vocabulary(shape.vocab_size)
    spec.register_vocabulary(words)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[-1]
    spec.validate()
    spec.optimize(quantization=form)
    spec.save(str(folder))


def _copy_weights(decoder: Any, weights: shared_weights.Weights) -> None:
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = _contiguous(weights["wte.weight"])
    decoder.position_encodings.encodings = _contiguous(weights["wpe.weight"])
    _copy_norm(decoder.layer_norm, weights, "ln_f")
    for number, layer in enumerate(decoder.layer):
        at = f"h.{number}"
        _copy_norm(layer.self_attention.layer_norm, weights, f"{at}.ln_1")
        _copy_linear(layer.self_attention.linear[0], weights, f"{at}.attn.c_attn")
        _copy_linear(layer.self_attention.linear[1], weights, f"{at}.attn.c_proj")
        _copy_norm(layer.ffn.layer_norm, weights, f"{at}.ln_2")
        _copy_linear(layer.ffn.linear_0, weights, f"{at}.mlp.c_fc")
        _copy_linear(layer.ffn.linear_1, weights, f"{at}.mlp.c_proj")


def _copy_linear(layer: Any, weights: shared_weights.Weights, name: str) -> None:
    layer.weight = _contiguous(weights[f"{name}.weight"].T)
    layer.bias = _contiguous(weights[f"{name}.bias"])


def _copy_norm(layer: Any, weights: shared_weights.Weights, name: str) -> None:
    layer.gamma = _contiguous(weights[f"{name}.weight"])
    layer.beta = _contiguous(weights[f"{name}.bias"])


def _contiguous(array: Any) -> Any:
    """In memory and in rows: it writes what lies there, whatever the strides say."""
    import numpy as np

    return np.array(array, order="C")


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        require_modules(["numpy", "ctranslate2"])
        import ctranslate2

        self.version = f"ctranslate2 {ctranslate2.__version__}"
        self.generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=form, inter_threads=1, intra_threads=threads
        )

    def time_first_token(self, ids: Sequence[int]) -> float:
        begun = time.perf_counter()
        return self._token_times(ids, 1)[0] - begun

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        times = self._token_times(ids, tokens + 1)
        return times[-1] - times[0]

    def logits(self, ids: Sequence[int]) -> Logits:
        import numpy as np

        found: Logits = np.array(self.generator.forward_batch([list(ids)]), np.float32)[0]
        return found

    def _token_times(self, ids: Sequence[int], tokens: int) -> list[float]:
        """When each of that many tokens came, in one call: its cache lives no longer than that."""
        times: list[float] = []
        self.generator.generate_batch(
            [[f"t{token}" for token in ids]],
            beam_size=1,
            sampling_topk=1,
            max_length=tokens,
            min_length=tokens,
            include_prompt_in_result=False,
            callback=lambda step: times.append(time.perf_counter()),
        )
        if len(times) != tokens:
            raise RuntimeError(f"ctranslate2 made {len(times)} tokens of {tokens}")
        return times


def _placeholder_vocabulary(count: int) -> list[str]:
    """Ids stand for themselves; it wants a word for each."""
    return [f"t{token}" for token in range(count)]
