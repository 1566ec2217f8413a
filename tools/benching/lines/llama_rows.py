"""llama.cpp with many sequences in one batch, as its own server runs them: continuous, first come, a cache for each.

Through the door of `tools.benching.llama`; what is done here is what llama-server does with `--parallel`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.benching import llama
from tools.benching.lines.peer import Waiting, Wanted
from tools.benching.lines.setting import Setting

FORM = "q8_0"
BATCH = 512  # tokens in one pass at most, as its server has it
REMEMBERED = 64  # tokens that its penalty looks back on


@dataclass(slots=True)
class _Row:
    """A sequence of the cache: what is in it, who has it, and what is yet to be read for that one."""

    number: int
    ids: list[int] = field(default_factory=list)
    conversation: str = ""
    wanted: Wanted | None = None
    to_read: list[int] = field(default_factory=list)
    sampler: Any = None
    used: int = 0


class Rows:
    """One context of `rows` sequences."""

    def __init__(self, setting: Setting, vocabulary: int) -> None:
        lib = self._lib = llama.library()
        self._vocabulary = vocabulary
        self.version = f"llama-cpp-python {version('llama-cpp-python')} {FORM}"
        with tempfile.TemporaryDirectory() as folder:
            llama.prepare(Path(setting.weights), FORM, 0, Path(folder))
            file = bytes(Path(folder) / llama.FILE)
            self._model = lib.llama_model_load_from_file(file, lib.llama_model_default_params())
        if not self._model:
            raise RuntimeError("llama.cpp cannot load its own file")
        count = min(setting.rows, lib.llama_max_parallel_sequences())
        options = lib.llama_context_default_params()
        options.n_seq_max = count
        options.n_ctx = count * setting.context
        options.n_batch = options.n_ubatch = BATCH
        options.n_threads = options.n_threads_batch = setting.threads
        options.kv_unified = False  # else each row looks at all rows' keys
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {count} rows")
        self._memory = lib.llama_get_memory(self._context)
        self._rows = [_Row(number) for number in range(count)]
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        self._turn = 0

    def run(self, waiting: Waiting) -> None:
        while True:
            free = [row for row in self._rows if row.wanted is None]
            for wanted in waiting.take(len(free), wait=len(free) == len(self._rows)):
                self._begin(self._chosen(wanted, free), wanted)
            self._pass()

    def _chosen(self, wanted: Wanted, free: list[_Row]) -> _Row:
        """The row that has its conversation, else the one that was idle longest."""
        row = min(free, key=lambda row: (row.conversation != wanted.conversation, row.used))
        free.remove(row)
        return row

    def _begin(self, row: _Row, wanted: Wanted) -> None:
        ids = list(wanted.ids)
        pairs = zip(row.ids, ids[:-1], strict=False)
        shared = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(row.ids), len(ids) - 1))
        self._lib.llama_memory_seq_rm(self._memory, row.number, shared, -1)
        del row.ids[shared:]
        row.to_read, row.wanted, row.conversation = ids[shared:], wanted, wanted.conversation
        row.sampler = self._sampler(wanted)

    def _sampler(self, wanted: Wanted) -> Any:
        lib, how = self._lib, wanted.sampling
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        parts = [
            lib.llama_sampler_init_top_k(how.top_k),
            lib.llama_sampler_init_penalties(self._vocabulary, REMEMBERED, how.repetition_penalty, 0.0, 0.0),
            lib.llama_sampler_init_temp(how.temperature),
            lib.llama_sampler_init_dist(how.seed & 0xFFFFFFFF),
        ]
        for part in parts:
            lib.llama_sampler_chain_add(chain, part)
        return chain

    def _pass(self) -> None:
        """One token for each row that goes on, then as much of the prompts as there is room for."""
        for row in self._rows:
            if row.wanted is not None and row.wanted.over:
                self._end(row)
        rows = sorted((row for row in self._rows if row.wanted is not None), key=lambda row: len(row.to_read) > 1)
        batch, at, drawn = self._batch, 0, list[tuple[_Row, int]]()
        for row in rows:
            part = row.to_read[: BATCH - at]
            for token in part:
                batch.token[at], batch.pos[at], batch.logits[at] = token, len(row.ids), 0
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, row.number
                row.ids.append(token)
                at += 1
            del row.to_read[: len(part)]
            if part and not row.to_read:
                batch.logits[at - 1] = 1
                drawn.append((row, at - 1))
        if not at:
            return
        batch.n_tokens = at
        if code := self._lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode gave {code}")
        for row, place in drawn:
            token = self._lib.llama_sampler_sample(row.sampler, self._context, place)
            row.to_read = [token]
            if row.wanted is not None and row.wanted.give(token):
                self._end(row)

    def _end(self, row: _Row) -> None:
        self._turn += 1
        self._lib.llama_sampler_free(row.sampler)
        row.wanted, row.to_read, row.used = None, [], self._turn
