"""GPT-2 in Hugging Face transformers on torch, with its cache and a loop of our own; the only file that knows it."""

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
    require_modules(["torch", "transformers"])
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    values, shape = shared_weights.load_weights(weights)
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.n_positions,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        bos_token_id=shape.vocab_size - 1,
        eos_token_id=shape.vocab_size - 1,
    )
    model: Any = GPT2LMHeadModel(config)
    own = {f"transformer.{name}": torch.from_numpy(np.array(value)) for name, value in values.items()}
    own["lm_head.weight"] = own["transformer.wte.weight"]
    model.load_state_dict(own)
    model.save_pretrained(folder)


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        require_modules(["torch", "transformers"])
        import torch
        import transformers

        self._torch = torch
        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        model: Any = transformers.GPT2LMHeadModel.from_pretrained(folder)
        self._model = model.eval()

    def time_first_token(self, ids: Sequence[int]) -> float:
        begun = time.perf_counter()
        self._forward(ids, None)
        return time.perf_counter() - begun

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        token, past = self._forward(ids, None)
        begun = time.perf_counter()
        for _ in range(tokens):
            token, past = self._forward([token], past)
        return time.perf_counter() - begun

    def logits(self, ids: Sequence[int]) -> Logits:
        found: Logits = self._model(self._torch.tensor([list(ids)])).logits[0].numpy()
        return found

    def _forward(self, ids: Sequence[int], past: Any) -> tuple[int, Any]:
        # One row of logits, as its own generate() asks for.
        given = self._torch.tensor([list(ids)])
        out = self._model(given, past_key_values=past, use_cache=True, logits_to_keep=1)
        return int(out.logits[0, -1].argmax()), out.past_key_values
