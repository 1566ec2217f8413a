"""What was measured, and what follows from it: medians, spreads, ratios. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tools.bench.candidates import Candidate, EngineName

TELETYPE_CPS = 10.0  # characters a second on one Teletype's line


@dataclass(frozen=True, slots=True)
class Measurement:
    """One candidate in one round, in a process of its own."""

    load_s: float
    resident_bytes: int
    peak_bytes: int  # after the prompts up to 512 tokens
    first_s: dict[int, float]  # by tokens of the prompt
    decode_per_s: float
    bandwidth: float  # bytes a second that a probe read just before and just after the decoding


@dataclass(frozen=True, slots=True)
class CandidateQuality:
    """Against the same weights in float32. `perplexity` is a ratio, and None where the text was no text."""

    divergence: float  # Kullback-Leibler, nats a token
    agreement: float  # how often both have the same likeliest token
    positions: int
    perplexity: float | None = None


@dataclass(slots=True)
class CandidateResult:
    """All there is of one candidate; `fault` says why there is no more."""

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
        """Of the memory's bandwidth, what the reading of weights took, by rounds."""
        return [visit.decode_per_s * self.step_bytes / visit.bandwidth for visit in self.visits]

    def teletypes_fed(self, chars_per_token: float) -> float:
        """Teletypes that it would feed, at that many characters a token."""
        return median(self.decode_rates) * chars_per_token / TELETYPE_CPS


@dataclass(frozen=True, slots=True)
class RatioOfRounds:
    """Ours over theirs where more is better, theirs over ours where less is: above 1 we are ahead."""

    of_medians: float
    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """One of ours against one of theirs of the same width, by what was measured."""

    ours: str
    theirs: str
    ratios: dict[str, RatioOfRounds]


def compute_ratio(better: Sequence[float], worse: Sequence[float]) -> RatioOfRounds:
    """Round by round `better` over `worse`; both are as long as there were rounds."""
    rounds = [a / b for a, b in zip(better, worse, strict=True)]
    return RatioOfRounds(median(better) / median(worse), median(rounds), min(rounds))


def compare_candidates(results: Sequence[CandidateResult], prompts: Sequence[int]) -> list[CandidateComparison]:
    """Each of ours with each of theirs of its width, those that failed left out."""
    whole = [result for result in results if result.visits and not result.fault]
    own = [result for result in whole if result.candidate.engine == "ours"]
    others = [result for result in whole if result.candidate.engine != "ours"]
    return [
        CandidateComparison(a.candidate.name, b.candidate.name, _compute_ratios(a, b, prompts))
        for a in own
        for b in others
        if a.candidate.width == b.candidate.width
    ]


def _compute_ratios(ours: CandidateResult, theirs: CandidateResult, prompts: Sequence[int]) -> dict[str, RatioOfRounds]:
    ratios = {"decode": compute_ratio(ours.decode_rates, theirs.decode_rates)}
    for prompt in prompts:
        ratios[f"first token after {prompt}"] = compute_ratio(
            theirs.first_token_times(prompt), ours.first_token_times(prompt)
        )
    ratios["load"] = compute_ratio([v.load_s for v in theirs.visits], [v.load_s for v in ours.visits])
    ratios["peak memory"] = compute_ratio(
        [float(v.peak_bytes) for v in theirs.visits], [float(v.peak_bytes) for v in ours.visits]
    )
    return ratios


def relative_trend(times: Sequence[float]) -> float:
    """By what share of their median the times grow from first to last, by the median of slopes (Theil and Sen)."""
    step = max(1, len(times) // 200)  # pairs grow with the square
    points = list(enumerate(times))[::step]
    slopes = [(b - a) / (j - i) for i, a in points for j, b in points if j > i]
    return median(slopes) * (len(times) - 1) / median(times) if slopes else 0.0


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """One run of `asr33 bench`, as it is shown and as it is written."""

    metadata: dict[str, Any]  # machine, versions, options
    prompts: tuple[int, ...]
    chars_per_token: float  # a token, on the model's own tokenizer or by custom
    has_measured_chars_per_token: bool
    results: list[CandidateResult]
    absent_peers: dict[EngineName, str]  # peers that are not there, and how to get them
    visit_order: list[list[str]]  # the names in each round, as they were visited

    def to_json(self) -> dict[str, Any]:
        """For JSON: every round's number, and what follows from them."""
        return {
            **self.metadata,
            "prompts": list(self.prompts),
            "characters_a_token": {"value": self.chars_per_token, "measured": self.has_measured_chars_per_token},
            "order": self.visit_order,
            "candidates": [_result_to_json(result, self.prompts, self.chars_per_token) for result in self.results],
            "comparisons": [asdict(one) for one in compare_candidates(self.results, self.prompts)],
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
