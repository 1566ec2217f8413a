"""CTranslate2 with many texts in one batch. Its batches are fixed: who comes while one runs waits for its end.

Through the door of `tools.bench.peers.ctranslate2_runner`. Its cache lives no longer than a batch, so each text is read anew; to
cut the answers, so that others come in between, costs more than it gives: 32 texts of 100 tokens are read in 2.6 to 5
processor seconds, and a step of their rows takes 0.04 to 0.1 (4.8.5, GPT-2 124M).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.bench.load.backends.peer import PeerRequest, RequestQueue
from tools.bench.load.settings import EngineSettings
from tools.bench.peers import ctranslate2_runner

QUANTISATION = "int8"


class CTranslate2Engine:
    """One group after the other, each of all who wait, up to `rows`."""

    def __init__(self, settings: EngineSettings, vocabulary: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            ctranslate2_runner.write_model(Path(settings.weights), QUANTISATION, 0, Path(folder))
            runner = ctranslate2_runner.Runner(Path(folder), QUANTISATION, settings.threads)
        self.version = f"{runner.version} {QUANTISATION}"
        self._generator = runner.generator
        self._rows = settings.batch_size

    def run(self, queue: RequestQueue) -> None:
        while True:
            self._run_group(queue.take_waiting(self._rows, wait=True))

    def _run_group(self, group: Sequence[PeerRequest]) -> None:
        if not group:
            return

        def came(step: Any) -> bool:
            one = group[step.batch_id]
            return one.give(int(step.token_id)) if not one.over else True

        how = group[0].sampling
        self._generator.generate_batch(
            [[f"t{token}" for token in one.ids] for one in group],
            beam_size=1,
            sampling_topk=how.top_k,
            sampling_temperature=how.temperature,
            repetition_penalty=how.repetition_penalty,
            max_length=max(one.tokens_left for one in group),
            min_length=1,
            include_prompt_in_result=False,
            callback=came,
        )
        for one in group:
            if not one.is_finished:
                one.fail()
