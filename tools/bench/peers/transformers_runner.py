"""GPT-2 in Hugging Face transformers on torch, with its cache and our decode loop. Only this file knows the library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench import shared_weights
from tools.bench.runner import StepRunner, require_modules

if TYPE_CHECKING:
    from tools.bench.runner import Logits


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
    state = {f"transformer.{name}": torch.from_numpy(np.array(value)) for name, value in values.items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict(state)
    model.save_pretrained(folder)


class Runner(StepRunner):
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        require_modules(["torch", "transformers"])
        import torch
        import transformers

        self._torch = torch
        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        model: Any = transformers.GPT2LMHeadModel.from_pretrained(folder)
        self._model, self._past = model.eval(), None

    def prefill(self, ids: Sequence[int]) -> int:
        self._past = None
        return self._forward(ids)

    def decode_step(self, token: int) -> int:
        return self._forward([token])

    def logits(self, ids: Sequence[int]) -> Logits:
        logits: Logits = self._model(self._torch.tensor([list(ids)])).logits[0].numpy()
        return logits

    def _forward(self, ids: Sequence[int]) -> int:
        # The library's generate() too asks for the last row of logits only.
        inputs = self._torch.tensor([list(ids)])
        out = self._model(inputs, past_key_values=self._past, use_cache=True, logits_to_keep=1)
        self._past = out.past_key_values
        return int(out.logits[0, -1].argmax())
