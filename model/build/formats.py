"""The storage formats of a model and their quality limits. Data only: the command line reads it without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

StoreFormat = Literal["int8", "int4", "float16", "float32", "half"]
CacheFormat = Literal["int8", "float32"]
STORE_FORMATS: tuple[StoreFormat, ...] = get_args(StoreFormat)
CACHE_FORMATS: tuple[CacheFormat, ...] = get_args(CacheFormat)
QUANTISED_FORMATS: tuple[StoreFormat, ...] = ("int8", "int4")
BLOCK_SIZES = (16, 32, 64, 128, 256)  # weights with a common scale; MatMulNBits supports no others


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """`ratio` limits the perplexity over that of float32, `kl` the KL divergence in nats a token.

    Both are needed: on a text unlike the training text a bad model may have a good perplexity by chance.
    """

    ratio: float
    kl: float


LIMITS: dict[StoreFormat, QualityLimits] = {
    "int8": QualityLimits(1.01, 0.03),
    "int4": QualityLimits(1.06, 0.2),
    "float16": QualityLimits(1.001, 0.003),
    "float32": QualityLimits(1.0001, 0.0003),  # only the order of the sums differs
    "half": QualityLimits(1.002, 0.003),
}
MAX_LOGIT_ERROR = 1e-3  # of a float32 graph
