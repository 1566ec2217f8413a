"""GPT-2 in llama.cpp through llama-cpp-python's low-level calls, its best case; the only file that knows it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench import shared_weights
from tools.bench.engine import require_modules
from tools.bench.peers import gguf

if TYPE_CHECKING:
    from tools.bench.engine import Logits

MODEL_FILE = "model.gguf"
LOG_LEVEL_ERROR = 4  # GGML_LOG_LEVEL_ERROR


def write_model(weights: Path, form: str, block: int, folder: Path) -> None:
    lib = load_library()
    kinds = {"f16": lib.LLAMA_FTYPE_MOSTLY_F16, "q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0}
    kinds |= {"q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0, "q4_k_m": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M}
    whole = folder / "float32.gguf"
    gguf.write_gguf(*shared_weights.load_weights(weights), whole)
    options = lib.llama_model_quantize_default_params()
    options.ftype = kinds[form]
    code = lib.llama_model_quantize(bytes(whole), bytes(folder / MODEL_FILE), ctypes.byref(options))
    whole.unlink()
    if code:
        raise RuntimeError(f"llama.cpp cannot make {form} of the weights (code {code})")


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        lib = self._lib = load_library()
        self.version = f"llama-cpp-python {version('llama-cpp-python')}"
        model = lib.llama_model_load_from_file(bytes(folder / MODEL_FILE), lib.llama_model_default_params())
        if not model:
            raise RuntimeError("llama.cpp cannot load its own file")
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        options = lib.llama_context_default_params()
        options.n_ctx = options.n_batch = lib.llama_model_n_ctx_train(model)
        options.n_threads = options.n_threads_batch = threads
        self._context = lib.llama_init_from_model(model, options)
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        self._memory = lib.llama_get_memory(self._context)

    def time_first_token(self, ids: Sequence[int]) -> float:
        begun = time.perf_counter()
        self._prefill(ids)
        return time.perf_counter() - begun

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        token = self._prefill(ids)
        begun = time.perf_counter()
        for _ in range(tokens):
            token = self._forward([token])
        return time.perf_counter() - begun

    def logits(self, ids: Sequence[int]) -> Logits:
        import numpy as np

        lib = self._lib
        lib.llama_memory_clear(self._memory, True)
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = 0
        self._check_code(lib.llama_decode(self._context, batch))
        found = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (len(ids), self._vocab_size)).copy()
        lib.llama_batch_free(batch)
        return found

    def _prefill(self, ids: Sequence[int]) -> int:
        self._lib.llama_memory_clear(self._memory, False)
        return self._forward(ids)

    def _forward(self, ids: Sequence[int]) -> int:
        import numpy as np

        lib = self._lib
        held = (lib.llama_token * len(ids))(*ids)
        self._check_code(lib.llama_decode(self._context, lib.llama_batch_get_one(held, len(ids))))
        last = lib.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(last, (self._vocab_size,)).argmax())

    def _check_code(self, code: int) -> None:
        if code:
            raise RuntimeError(f"llama_decode gave {code}")


_log_callback: Any = None  # llama.cpp keeps the address only


def load_library() -> Any:
    global _log_callback
    require_modules(["numpy", "llama_cpp"])
    import sys

    import llama_cpp

    def log(level: int, text: bytes, _: object) -> None:
        if level == LOG_LEVEL_ERROR:
            sys.stderr.write(text.decode("utf-8", "replace"))

    _log_callback = llama_cpp.llama_log_callback(log)
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp
