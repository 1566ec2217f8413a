"""GPT-2 in CTranslate2: the writer of its format, without torch, the runner, and the batch engine of the load test.

Only this file knows the library. Its batches are fixed: a request that comes while a batch runs waits for its end. The
cache lives no longer than a batch, so each prompt is prefilled anew. To end batches early and continue the answers in
the next would cost more than it gives: 32 texts of 100 tokens take 2.6 to 5 processor seconds to prefill, and a decode
step of their rows takes 0.04 to 0.1 (4.8.5, GPT-2 124M).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench import shared_weights
from tools.bench.runner import require_modules

if TYPE_CHECKING:
    from tools.bench.load.peer_backend import EngineSettings, PeerRequest, RequestQueue
    from tools.bench.runner import Logits

LOAD_FORM = "int8"  # of the weights in the load test


def write_model(weights: Path, form: str, block: int, folder: Path) -> None:
    from ctranslate2.specs import Activation, TransformerDecoderModelSpec

    values, shape = shared_weights.load_weights(weights)
    gelu = Activation.GELUTanh
    spec = TransformerDecoderModelSpec.from_config(shape.n_layer, shape.n_head, pre_norm=True, activation=gelu)
    _copy_weights(spec.decoder, values)
    tokens = _placeholders(range(shape.vocab_size))
    spec.register_vocabulary(tokens)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = tokens[-1]
    spec.validate()
    spec.optimize(quantization=form)
    spec.save(str(folder))


def _copy_weights(decoder: Any, weights: shared_weights.Weights) -> None:
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = _contiguous(weights["wte.weight"])
    decoder.position_encodings.encodings = _contiguous(weights["wpe.weight"])
    _copy_norm(decoder.layer_norm, weights, "ln_f")
    for number, layer in enumerate(decoder.layer):
        prefix = f"h.{number}"
        _copy_norm(layer.self_attention.layer_norm, weights, f"{prefix}.ln_1")
        _copy_linear(layer.self_attention.linear[0], weights, f"{prefix}.attn.c_attn")
        _copy_linear(layer.self_attention.linear[1], weights, f"{prefix}.attn.c_proj")
        _copy_norm(layer.ffn.layer_norm, weights, f"{prefix}.ln_2")
        _copy_linear(layer.ffn.linear_0, weights, f"{prefix}.mlp.c_fc")
        _copy_linear(layer.ffn.linear_1, weights, f"{prefix}.mlp.c_proj")


def _copy_linear(layer: Any, weights: shared_weights.Weights, name: str) -> None:
    layer.weight = _contiguous(weights[f"{name}.weight"].T)
    layer.bias = _contiguous(weights[f"{name}.bias"])


def _copy_norm(layer: Any, weights: shared_weights.Weights, name: str) -> None:
    layer.gamma = _contiguous(weights[f"{name}.weight"])
    layer.beta = _contiguous(weights[f"{name}.bias"])


def _contiguous(array: Any) -> Any:
    """Copies the array to memory in C order: the library writes the bytes and ignores strides."""
    import numpy as np

    return np.array(array, order="C")


def _placeholders(ids: Sequence[int]) -> list[str]:
    """Returns a word for each id, because the library's input and output are words."""
    return [f"t{token}" for token in ids]


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        require_modules(["numpy", "ctranslate2"])
        import ctranslate2

        self.version = f"ctranslate2 {ctranslate2.__version__}"
        self.generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=form, inter_threads=1, intra_threads=threads
        )

    def time_first_token(self, ids: Sequence[int]) -> float:
        started_at = time.perf_counter()
        return self._token_times(ids, 1)[0] - started_at

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        times = self._token_times(ids, tokens + 1)
        return times[-1] - times[0]

    def logits(self, ids: Sequence[int]) -> Logits:
        import numpy as np

        logits: Logits = np.array(self.generator.forward_batch([list(ids)]), np.float32)[0]
        return logits

    def _token_times(self, ids: Sequence[int], tokens: int) -> list[float]:
        """Returns the moment of each token, from one call: the cache lives no longer than a call."""
        times: list[float] = []
        self.generator.generate_batch(
            [_placeholders(ids)],
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


class CTranslate2Engine:
    """Runs one batch after the other; each has all waiting requests, up to the batch size."""

    def __init__(self, settings: EngineSettings, vocab_size: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(settings.weights), LOAD_FORM, 0, Path(folder))
            runner = Runner(Path(folder), LOAD_FORM, settings.threads)
        self.version = f"{runner.version} {LOAD_FORM}"
        self._generator = runner.generator
        self._batch_size = settings.batch_size

    def run(self, queue: RequestQueue) -> None:
        while True:
            if batch := queue.take_waiting(self._batch_size, wait=True):
                self._run_batch(batch)

    def _run_batch(self, batch: Sequence[PeerRequest]) -> None:
        def on_step(step: Any) -> bool:
            request: PeerRequest = batch[step.batch_id]
            return request.add_token(int(step.token_id)) if not request.is_finished else True

        sampling = batch[0].sampling
        self._generator.generate_batch(
            [_placeholders(request.ids) for request in batch],
            beam_size=1,
            sampling_topk=sampling.top_k,
            sampling_temperature=sampling.temperature,
            repetition_penalty=sampling.repetition_penalty,
            max_length=max(request.tokens_left for request in batch),
            min_length=1,
            include_prompt_in_result=False,
            callback=on_step,
        )
        for request in batch:
            if not request.is_finished:
                request.fail()
