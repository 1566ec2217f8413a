"""Training steps for `asr33 bench --train`: asr33's own, and the loop of transformers. Only a worker imports this.

Both train the same shape from random weights on random tokens. transformers' loop is the one in its documentation: the
model's own loss, gradients clipped at 1, AdamW, and autocast for bfloat16.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.interface import GPT2Config
from tools.bench.errors import PeerNotInstalled
from tools.train import device, microbatches
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import ParallelMap
from tools.train.run_config import RunLength
from tools.train.schedule import TrainPlan
from tools.train.trainer import Trainer

TrainStep = Callable[[NDArray[np.int32]], float]  # a batch [B, T + 1] -> its loss
LENGTH = RunLength(1_000_000, None)  # no run of the benchmark reaches the fall of the rate


class TrainingRunner:
    """A net in training. `label` is the precision of its products, for a reader."""

    def __init__(self, engine: str, precision: str, shape: GPT2Config, batch: int, context: int, threads: int) -> None:
        """`precision` is float32, bfloat16, or auto for asr33's own choice. Raises PeerNotInstalled."""
        torch.manual_seed(33)
        self._rng = np.random.default_rng(33)
        self._batch, self._context, self._vocabulary = batch, context, shape.vocab_size
        if engine == "transformers":
            self._step = make_transformers_step(shape, precision == "bfloat16", threads)
        else:
            self._threads = microbatches.open_thread_map(threads)  # held: the threads end with it
            self._step = make_asr33_step(shape, batch, precision, threads, self._threads.__enter__())

    def time_steps(self, count: int) -> float:
        """The seconds of some steps."""
        size = (self._batch, self._context + 1)
        batches = [self._rng.integers(0, self._vocabulary, size).astype(np.int32) for _ in range(count)]
        started_at = time.perf_counter()
        for batch in batches:
            self._step(batch)
        return time.perf_counter() - started_at


def make_asr33_step(
    shape: GPT2Config, batch: int, precision: str, threads: int, parallel_map: ParallelMap
) -> TrainStep:
    device.keep_freed_memory()  # as `asr33 train` does
    if precision == "auto":
        is_bfloat16, _ = device.choose_precision("auto", "cpu", shape.n_embd)
    else:
        is_bfloat16 = precision == "bfloat16"
    plan = TrainPlan(LENGTH, batch, 33, threads=threads, is_bfloat16=is_bfloat16)
    folder = Path(tempfile.gettempdir())
    trainer = Trainer(Gpt2(shape), plan, folder / "no-checkpoint-of-a-benchmark.safetensors", parallel_map)

    def take_step(rows: NDArray[np.int32]) -> float:
        loss = trainer.take_step(rows)
        trainer.count_step(rows.size, 0.0)
        return loss

    return take_step


def make_transformers_step(shape: GPT2Config, is_bfloat16: bool, threads: int) -> TrainStep:
    try:
        from transformers import GPT2Config as HubConfig
        from transformers import GPT2LMHeadModel
    except ImportError:
        raise PeerNotInstalled("transformers is not installed") from None
    torch.set_num_threads(threads)
    config = HubConfig(
        vocab_size=shape.vocab_size,
        n_positions=shape.n_positions,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    net = GPT2LMHeadModel(config).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=6e-4, fused=True)

    def take_step(batch: NDArray[np.int32]) -> float:
        ids = torch.from_numpy(batch[:, :-1]).long()
        with torch.autocast("cpu", torch.bfloat16) if is_bfloat16 else nullcontext():
            loss = net(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return take_step
