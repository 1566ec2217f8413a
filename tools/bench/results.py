"""The results of a benchmark: measurements, and their medians, spreads and ratios. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tools.bench.candidates import Candidate, EngineName

TELETYPE_CPS = 10.0  # characters per second of one Teletype


@dataclass(frozen=True, slots=True)
class Measurement:
    """One candidate in one round, in a process of its own. The fields are JSON keys."""

    load_s: float
    resident_bytes: int
    peak_bytes: int  # after the prompts of up to 512 tokens
    first_s: dict[int, float]  # by prompt length in tokens
    decode_per_s: float
    bandwidth: float  # bytes per second that a probe read just before and just after the decoding


@dataclass(frozen=True, slots=True)
class CandidateQuality:
    """How far a candidate is from the same weights in float32. The fields are JSON keys."""

    divergence: float  # Kullback-Leibler, nats per token
    agreement: float  # share of the positions where both have the same most likely token
    positions: int
    perplexity: float | None = None  # ratio of the perplexities; None if the ids are random


@dataclass(slots=True)
class CandidateResult:
    """All results of one candidate. `fault` is the reason if it was left out. The fields are JSON keys."""

    candidate: Candidate
    version: str = ""
    step_bytes: int = 0
    file_bytes: int = 0
    visits: list[Measurement] = field(default_factory=list)
    quality: CandidateQuality | None = None
    fault: str = ""

    @property
    def decode_rates(self) -> list[float]:
        return [visit.decode_per_s for visit in self.visits]

    def first_token_times(self, prompt_tokens: int) -> list[float]:
        return [visit.first_s[prompt_tokens] for visit in self.visits]

    @property
    def bandwidth_shares(self) -> list[float]:
        """The share of the memory bandwidth that reading the weights took, for each round."""
        return [visit.decode_per_s * self.step_bytes / visit.bandwidth for visit in self.visits]

    def teletypes_fed(self, chars_per_token: float) -> float:
        """How many Teletypes the decode rate keeps printing."""
        return median(self.decode_rates) * chars_per_token / TELETYPE_CPS


@dataclass(frozen=True, slots=True)
class RatioOfRounds:
    """asr33 against another engine: a ratio above 1 always means that asr33 is better."""

    of_medians: float
    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """A candidate of asr33 against one of another engine with the same precision, by measured quantity."""

    ours: str
    theirs: str
    ratios: dict[str, RatioOfRounds]


def compute_ratio(better: Sequence[float], worse: Sequence[float]) -> RatioOfRounds:
    """Divides `better` by `worse`, round by round; both have a value for each round."""
    rounds = [a / b for a, b in zip(better, worse, strict=True)]
    return RatioOfRounds(median(better) / median(worse), median(rounds), min(rounds))


def compare_candidates(results: Sequence[CandidateResult], prompts: Sequence[int]) -> list[CandidateComparison]:
    """Compares each candidate of asr33 with each peer of the same precision; failed candidates are left out."""
    complete = [result for result in results if result.visits and not result.fault]
    own = [result for result in complete if result.candidate.engine == "ours"]
    peers = [result for result in complete if result.candidate.engine != "ours"]
    return [
        CandidateComparison(a.candidate.name, b.candidate.name, _compute_ratios(a, b, prompts))
        for a in own
        for b in peers
        if a.candidate.width == b.candidate.width
    ]


def _compute_ratios(own: CandidateResult, peer: CandidateResult, prompts: Sequence[int]) -> dict[str, RatioOfRounds]:
    ratios = {"decode": compute_ratio(own.decode_rates, peer.decode_rates)}
    for n in prompts:
        ratios[f"first token after {n}"] = compute_ratio(peer.first_token_times(n), own.first_token_times(n))
    ratios["load"] = compute_ratio([v.load_s for v in peer.visits], [v.load_s for v in own.visits])
    ratios["peak memory"] = compute_ratio([v.peak_bytes for v in peer.visits], [v.peak_bytes for v in own.visits])
    return ratios


def relative_trend(times: Sequence[float]) -> float:
    """Returns how much the times grow from first to last, as a share of their median (slope of Theil and Sen)."""
    step = max(1, len(times) // 200)  # the number of pairs grows with the square
    points = list(enumerate(times))[::step]
    slopes = [(b - a) / (j - i) for i, a in points for j, b in points if j > i]
    return median(slopes) * (len(times) - 1) / median(times) if slopes else 0.0


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """One run of `asr33 bench`, for the table and for JSON."""

    metadata: dict[str, Any]  # machine, versions, options
    prompts: tuple[int, ...]
    chars_per_token: float  # measured with the model's tokenizer, or assumed
    has_measured_chars_per_token: bool
    results: list[CandidateResult]
    absent_peers: dict[EngineName, str]  # peers that are not installed, and how to install them
    visit_order: list[list[str]]  # the candidates' names in each round, in the order of measurement

    def to_json(self) -> dict[str, Any]:
        """Returns the measurements of all rounds and the figures computed from them."""
        return {
            **self.metadata,
            "prompts": list(self.prompts),
            "characters_a_token": {"value": self.chars_per_token, "measured": self.has_measured_chars_per_token},
            "order": self.visit_order,
            "candidates": [_result_to_json(result, self.prompts, self.chars_per_token) for result in self.results],
            "comparisons": [asdict(comparison) for comparison in compare_candidates(self.results, self.prompts)],
            "absent": self.absent_peers,
        }


def _result_to_json(result: CandidateResult, prompts: Sequence[int], chars_per_token: float) -> dict[str, Any]:
    data = {"name": result.candidate.name} | asdict(result)
    for visit in data["visits"]:
        visit["first_s"] = {str(prompt): seconds for prompt, seconds in visit["first_s"].items()}
    if result.visits:
        data["median"] = {
            "decode_per_s": median(result.decode_rates),
            "first_s": {str(prompt): median(result.first_token_times(prompt)) for prompt in prompts},
            "load_s": median(visit.load_s for visit in result.visits),
            "resident_bytes": median(visit.resident_bytes for visit in result.visits),
            "peak_bytes": median(visit.peak_bytes for visit in result.visits),
            "bandwidth": median(visit.bandwidth for visit in result.visits),
            "share_of_bandwidth": median(result.bandwidth_shares),
            "lines": result.teletypes_fed(chars_per_token),
        }
    return data
