"""GPT-2 in llama.cpp: the writer of its format, the runner, and the batch engine of the load test.

Only this file knows the library. It uses the low-level calls of llama-cpp-python, which are the fastest. The batch
engine works as llama-server with `--parallel`: continuous batching, first come, first served, and a cache per row.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench import shared_weights
from tools.bench.peers import gguf
from tools.bench.runner import StepRunner, require_modules

if TYPE_CHECKING:
    from tools.bench.load.peer_backend import EngineSettings, PeerRequest, RequestQueue
    from tools.bench.runner import Logits

MODEL_FILE = "model.gguf"
LOG_LEVEL_ERROR = 4  # GGML_LOG_LEVEL_ERROR
LOAD_FORM = "q8_0"  # of the weights in the load test
BATCH_TOKENS = 512  # most tokens in one pass, as in llama-server
PENALTY_TOKENS = 64  # tokens that the repetition penalty looks at


def write_model(weights: Path, form: str, block: int, folder: Path) -> None:
    lib = load_library()
    types = {"f16": lib.LLAMA_FTYPE_MOSTLY_F16, "q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0}
    types |= {"q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0, "q4_k_m": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M}
    float32_file = folder / "float32.gguf"
    gguf.write_gguf(*shared_weights.load_weights(weights), float32_file)
    options = lib.llama_model_quantize_default_params()
    options.ftype = types[form]
    code = lib.llama_model_quantize(bytes(float32_file), bytes(folder / MODEL_FILE), ctypes.byref(options))
    float32_file.unlink()
    if code:
        raise RuntimeError(f"llama.cpp cannot make {form} of the weights (code {code})")


class Runner(StepRunner):
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        lib = self._lib = load_library()
        self.version = f"llama-cpp-python {version('llama-cpp-python')}"
        model = _load_model(lib, folder)
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        options = lib.llama_context_default_params()
        options.n_ctx = options.n_batch = lib.llama_model_n_ctx_train(model)
        options.n_threads = options.n_threads_batch = threads
        self._context = lib.llama_init_from_model(model, options)
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        self._memory = lib.llama_get_memory(self._context)

    def logits(self, ids: Sequence[int]) -> Logits:
        import numpy as np

        lib = self._lib
        lib.llama_memory_clear(self._memory, True)
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        _check_code(lib.llama_decode(self._context, batch))
        logits = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (len(ids), self._vocab_size)).copy()
        lib.llama_batch_free(batch)
        return logits

    def prefill(self, ids: Sequence[int]) -> int:
        self._lib.llama_memory_clear(self._memory, False)
        return self._forward(ids)

    def decode_step(self, token: int) -> int:
        return self._forward([token])

    def _forward(self, ids: Sequence[int]) -> int:
        """Returns the most likely token after the ids."""
        import numpy as np

        lib = self._lib
        tokens = (lib.llama_token * len(ids))(*ids)
        _check_code(lib.llama_decode(self._context, lib.llama_batch_get_one(tokens, len(ids))))
        logits = lib.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(logits, (self._vocab_size,)).argmax())


@dataclass(slots=True)
class _CachedSequence:
    """A row of the cache: its ids, its conversation, its request, and the ids that are still to be decoded."""

    sequence_id: int
    cached_ids: list[int] = field(default_factory=list)
    conversation: str = ""
    request: PeerRequest | None = None
    pending_ids: list[int] = field(default_factory=list)
    sampler: Any = None
    last_used: int = 0


class LlamaCppEngine:
    """One llama.cpp context with a row for each sequence of a batch."""

    def __init__(self, settings: EngineSettings, vocab_size: int) -> None:
        lib = self._lib = load_library()
        self._vocab_size = vocab_size
        self.version = f"llama-cpp-python {version('llama-cpp-python')} {LOAD_FORM}"
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(settings.weights), LOAD_FORM, 0, Path(folder))
            model = _load_model(lib, Path(folder))
        count = min(settings.batch_size, lib.llama_max_parallel_sequences())
        options = lib.llama_context_default_params()
        options.n_seq_max = count
        options.n_ctx = count * settings.context
        options.n_batch = options.n_ubatch = BATCH_TOKENS
        options.n_threads = options.n_threads_batch = settings.threads
        options.kv_unified = False  # otherwise each row attends to the keys of all rows
        self._context = lib.llama_init_from_model(model, options)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {count} rows")
        self._memory = lib.llama_get_memory(self._context)
        self._sequences = [_CachedSequence(number) for number in range(count)]
        self._batch = lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._finished_count = 0

    def run(self, queue: RequestQueue) -> None:
        while True:
            free = [sequence for sequence in self._sequences if sequence.request is None]
            for request in queue.take_waiting(len(free), wait=len(free) == len(self._sequences)):
                self._start_request(self._choose_sequence(request, free), request)
            self._run_batch()

    def _choose_sequence(self, request: PeerRequest, free: list[_CachedSequence]) -> _CachedSequence:
        """Removes from `free` and returns the row that has the conversation, or the row that is idle longest."""
        chosen = min(free, key=lambda row: (row.conversation != request.conversation, row.last_used))
        free.remove(chosen)
        return chosen

    def _start_request(self, sequence: _CachedSequence, request: PeerRequest) -> None:
        """Keeps the common prefix of the cache and the prompt."""
        ids, cached = list(request.ids), sequence.cached_ids
        pairs = enumerate(zip(cached, ids[:-1], strict=False))
        shared = next((at for at, (old, new) in pairs if old != new), min(len(cached), len(ids) - 1))
        self._lib.llama_memory_seq_rm(self._memory, sequence.sequence_id, shared, -1)
        del cached[shared:]
        sequence.pending_ids, sequence.request, sequence.conversation = ids[shared:], request, request.conversation
        sequence.sampler = self._make_sampler(request)

    def _make_sampler(self, request: PeerRequest) -> Any:
        lib, sampling = self._lib, request.sampling
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        penalty = sampling.repetition_penalty
        for sampler in (
            lib.llama_sampler_init_top_k(sampling.top_k),
            lib.llama_sampler_init_penalties(self._vocab_size, PENALTY_TOKENS, penalty, 0.0, 0.0),
            lib.llama_sampler_init_temp(sampling.temperature),
            lib.llama_sampler_init_dist(sampling.seed & 0xFFFFFFFF),
        ):
            lib.llama_sampler_chain_add(chain, sampler)
        return chain

    def _run_batch(self) -> None:
        """Decodes one token for each row that generates, and prompts as far as the batch has room."""
        for row in self._sequences:
            if row.request is not None and row.request.is_finished:
                self._finish_request(row)
        rows = [row for row in self._sequences if row.request is not None]
        batch, count, sampled = self._batch, 0, list[tuple[_CachedSequence, int]]()
        for row in sorted(rows, key=lambda row: len(row.pending_ids) > 1):
            part = row.pending_ids[: BATCH_TOKENS - count]
            for token in part:
                batch.token[count], batch.pos[count], batch.logits[count] = token, len(row.cached_ids), 0
                batch.n_seq_id[count], batch.seq_id[count][0] = 1, row.sequence_id
                row.cached_ids.append(token)
                count += 1
            del row.pending_ids[: len(part)]
            if part and not row.pending_ids:
                batch.logits[count - 1] = 1
                sampled.append((row, count - 1))
        if not count:
            return
        batch.n_tokens = count
        _check_code(self._lib.llama_decode(self._context, batch))
        for row, position in sampled:
            token = self._lib.llama_sampler_sample(row.sampler, self._context, position)
            row.pending_ids = [token]
            if row.request is not None and row.request.add_token(token):
                self._finish_request(row)

    def _finish_request(self, sequence: _CachedSequence) -> None:
        self._finished_count += 1
        self._lib.llama_sampler_free(sequence.sampler)
        sequence.request, sequence.pending_ids, sequence.last_used = None, [], self._finished_count


_log_callback: Any = None  # keeps the function alive: llama.cpp has only its address


def load_library() -> Any:
    """Imports the library, and limits its log to errors. Raises ImportError."""
    global _log_callback
    require_modules(["numpy", "llama_cpp"])
    import llama_cpp

    def log(level: int, text: bytes, _: object) -> None:
        if level == LOG_LEVEL_ERROR:
            sys.stderr.write(text.decode("utf-8", "replace"))

    _log_callback = llama_cpp.llama_log_callback(log)
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


def _load_model(lib: Any, folder: Path) -> Any:
    model = lib.llama_model_load_from_file(bytes(folder / MODEL_FILE), lib.llama_model_default_params())
    if not model:
        raise RuntimeError("llama.cpp cannot load its own file")
    return model


def _check_code(code: int) -> None:
    if code:
        raise RuntimeError(f"llama_decode gave {code}")
