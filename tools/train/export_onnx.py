"""Exports a net's weights as the ONNX graph that runs, and checks the graph against torch."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from model.build import onnx_io
from model.onnx.session import OnnxSession
from model.store import store
from tools.cli.errors import ToolError
from tools.train.data import TokenIds
from tools.train.gpt2 import Gpt2

TOLERANCE = 1e-3  # between two engines in float32, of logits of some tens
CACHED_STEPS = 8  # tokens of a checked window that are fed one by one, through the cache


def write_onnx(net: Gpt2, folder: Path) -> Path:
    """Writes the graph with its matrices in float16. Raises ModelDamaged for numbers that float16 cannot hold."""
    weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    onnx_io.write_graph(folder, weights, net.shape, store_as="float16")
    return folder / store.GRAPH_FILE


def check_export(onnx: Path, net: Gpt2, windows: TokenIds, threads: int) -> None:
    """Raises ToolError if the graph differs from torch on windows [N, T] of tokens."""
    difference = largest_difference(onnx, net, windows, threads)
    if not difference < TOLERANCE:
        fault = f"the export differs from torch by {difference:.2g}, over {TOLERANCE:g}"
        raise ToolError(f"{fault}: nothing was written", "failed")


def largest_difference(onnx: Path, net: Gpt2, windows: TokenIds, threads: int) -> float:
    """The largest difference between the graph's logits and those of torch with weights of the same precision.

    The last tokens of each window are fed one by one, so the cache is checked too.
    """
    session, reference = OnnxSession(onnx, threads=threads), float16_copy(net)
    largest = 0.0
    for window in windows[:, : net.shape.n_positions]:
        ids = [int(token) for token in window]
        prompt = max(1, len(ids) - CACHED_STEPS)
        session.rewind(0)
        rows = [
            session.forward_from(ids[:prompt], 0).copy(),
            *(session.forward([token]).copy()[None] for token in ids[prompt:]),
        ]
        with torch.no_grad():
            expected = reference.logits(torch.tensor([ids]))[0].numpy()
        difference = np.abs(np.concatenate(rows) - expected).max()
        largest = max(largest, float("inf") if np.isnan(difference) else float(difference))
    return largest


def float16_copy(net: Gpt2) -> Gpt2:
    """A copy whose matrices are rounded to float16."""
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        for value in rounded.parameters():
            if value.ndim > 1:
                value.copy_(value.half().float())
    return rounded
