"""llama.cpp with many sequences in one batch, as its own server runs them: continuous, first come, a cache for each.

Through the door of `tools.bench.peers.llama_runner`; what is done here is what llama-server does with `--parallel`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.bench.load.backends.peer import PeerRequest, RequestQueue
from tools.bench.load.settings import EngineSettings
from tools.bench.peers import llama_runner

QUANTISATION = "q8_0"
BATCH_TOKENS = 512  # tokens in one pass at most, as its server has it
PENALTY_TOKENS = 64  # tokens that its penalty looks back on


@dataclass(slots=True)
class _CachedSequence:
    """A sequence of the cache: what is in it, who has it, and what is yet to be read for that one."""

    sequence_id: int
    cached_ids: list[int] = field(default_factory=list)
    conversation: str = ""
    request: PeerRequest | None = None
    pending_ids: list[int] = field(default_factory=list)
    sampler: Any = None
    last_used: int = 0


class LlamaCppEngine:
    """One context of `rows` sequences."""

    def __init__(self, settings: EngineSettings, vocabulary: int) -> None:
        lib = self._lib = llama_runner.load_library()
        self._vocabulary = vocabulary
        self.version = f"llama-cpp-python {version('llama-cpp-python')} {QUANTISATION}"
        with tempfile.TemporaryDirectory() as folder:
            llama_runner.write_model(Path(settings.weights), QUANTISATION, 0, Path(folder))
            file = bytes(Path(folder) / llama_runner.MODEL_FILE)
            self._model = lib.llama_model_load_from_file(file, lib.llama_model_default_params())
        if not self._model:
            raise RuntimeError("llama.cpp cannot load its own file")
        count = min(settings.batch_size, lib.llama_max_parallel_sequences())
        options = lib.llama_context_default_params()
        options.n_seq_max = count
        options.n_ctx = count * settings.context
        options.n_batch = options.n_ubatch = BATCH_TOKENS
        options.n_threads = options.n_threads_batch = settings.threads
        options.kv_unified = False  # else each row looks at all rows' keys
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {count} rows")
        self._memory = lib.llama_get_memory(self._context)
        self._sequences = [_CachedSequence(number) for number in range(count)]
        self._batch = lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._finished_count = 0

    def run(self, queue: RequestQueue) -> None:
        while True:
            free = [row for row in self._sequences if row.request is None]
            for wanted in queue.take_waiting(len(free), wait=len(free) == len(self._sequences)):
                self._start_request(self._choose_sequence(wanted, free), wanted)
            self._run_batch()

    def _choose_sequence(self, request: PeerRequest, free: list[_CachedSequence]) -> _CachedSequence:
        """The row that has its conversation, else the one that was idle longest."""
        row = min(free, key=lambda row: (row.conversation != request.conversation, row.last_used))
        free.remove(row)
        return row

    def _start_request(self, sequence: _CachedSequence, request: PeerRequest) -> None:
        ids = list(request.ids)
        pairs = zip(sequence.cached_ids, ids[:-1], strict=False)
        shared = next(
            (at for at, (one, other) in enumerate(pairs) if one != other), min(len(sequence.cached_ids), len(ids) - 1)
        )
        self._lib.llama_memory_seq_rm(self._memory, sequence.sequence_id, shared, -1)
        del sequence.cached_ids[shared:]
        sequence.pending_ids, sequence.request, sequence.conversation = ids[shared:], request, request.conversation
        sequence.sampler = self._make_sampler(request)

    def _make_sampler(self, request: PeerRequest) -> Any:
        lib, how = self._lib, request.sampling
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        parts = [
            lib.llama_sampler_init_top_k(how.top_k),
            lib.llama_sampler_init_penalties(self._vocabulary, PENALTY_TOKENS, how.repetition_penalty, 0.0, 0.0),
            lib.llama_sampler_init_temp(how.temperature),
            lib.llama_sampler_init_dist(how.seed & 0xFFFFFFFF),
        ]
        for part in parts:
            lib.llama_sampler_chain_add(chain, part)
        return chain

    def _run_batch(self) -> None:
        """One token for each row that goes on, then as much of the prompts as there is room for."""
        for row in self._sequences:
            if row.request is not None and row.request.is_finished:
                self._finish_request(row)
        rows = sorted(
            (row for row in self._sequences if row.request is not None), key=lambda row: len(row.pending_ids) > 1
        )
        batch, at, drawn = self._batch, 0, list[tuple[_CachedSequence, int]]()
        for row in rows:
            part = row.pending_ids[: BATCH_TOKENS - at]
            for token in part:
                batch.token[at], batch.pos[at], batch.logits[at] = token, len(row.cached_ids), 0
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, row.sequence_id
                row.cached_ids.append(token)
                at += 1
            del row.pending_ids[: len(part)]
            if part and not row.pending_ids:
                batch.logits[at - 1] = 1
                drawn.append((row, at - 1))
        if not at:
            return
        batch.n_tokens = at
        if code := self._lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode gave {code}")
        for row, place in drawn:
            token = self._lib.llama_sampler_sample(row.sampler, self._context, place)
            row.pending_ids = [token]
            if row.request is not None and row.request.add_token(token):
                self._finish_request(row)

    def _finish_request(self, sequence: _CachedSequence) -> None:
        self._finished_count += 1
        self._lib.llama_sampler_free(sequence.sampler)
        sequence.request, sequence.pending_ids, sequence.last_used = None, [], self._finished_count
