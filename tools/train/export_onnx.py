"""The net's weights as the ONNX graph that runs: the one place where torch meets the engine."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from model.build import onnx_io
from model.onnx.session import OnnxSession
from model.store import store
from tools.train.data import TokenIds
from tools.train.errors import RunHalted
from tools.train.gpt2 import Gpt2

TOLERANCE = 1e-3  # between two engines in fp32, of logits that are some tens
CACHED_STEPS = 8  # tokens of a checked window that are fed one by one, through the cache


def write_onnx(net: Gpt2, folder: Path) -> Path:
    """The graph with its matrices in float16, written into the folder. Raises ModelDamaged for what float16 cannot."""
    weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    onnx_io.write_graph(folder, weights, net.shape, store_as="float16")
    return folder / store.GRAPH_FILE


def check_export(onnx: Path, net: Gpt2, windows: TokenIds, threads: int) -> None:
    """On windows [N, T] of tokens: see `largest_difference`. Raises RunHalted when the graph says other than torch."""
    difference = largest_difference(onnx, net, windows, threads)
    if not difference < TOLERANCE:
        raise RunHalted(f"the export differs from torch by {difference:.2g}, over {TOLERANCE:g}: nothing was written")


def largest_difference(onnx: Path, net: Gpt2, windows: TokenIds, threads: int) -> float:
    """Between the graph's logits and those of torch with the same rounding, over all positions of the windows.

    The last tokens of each window go in one by one, so that the cache is proved too.
    """
    session, judge = OnnxSession(onnx, threads=threads), float16_copy(net)
    largest = 0.0
    for window in windows[:, : net.shape.n_positions]:
        ids = [int(token) for token in window]
        many = max(1, len(ids) - CACHED_STEPS)
        session.rewind(0)
        rows = [
            session.forward_from(ids[:many], 0).copy(),
            *(session.forward([token]).copy()[None] for token in ids[many:]),
        ]
        with torch.no_grad():
            wanted = judge.logits(torch.tensor([ids]))[0].numpy()
        difference = np.abs(np.concatenate(rows) - wanted).max()
        largest = max(largest, float("inf") if np.isnan(difference) else float(difference))
    return largest


def float16_copy(net: Gpt2) -> Gpt2:
    """A copy whose matrices have lost what float16 does not keep."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for value in other.parameters():
            if value.ndim > 1:
                value.copy_(value.half().float())
    return other
