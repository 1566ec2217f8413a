"""What was measured, and what follows from it: medians, spreads, ratios. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tools.benching.candidates import Candidate, Engine

LINE = 10.0  # characters a second on one Teletype's line


@dataclass(frozen=True, slots=True)
class Visit:
    """One candidate in one round, in a process of its own."""

    load_s: float
    resident_bytes: int
    peak_bytes: int  # after the prompts up to 512 tokens
    first_s: dict[int, float]  # by tokens of the prompt
    decode_per_s: float
    bandwidth: float  # bytes a second that a probe read just before and just after the decoding


@dataclass(frozen=True, slots=True)
class Quality:
    """Against the same weights in float32. `perplexity` is a ratio, and None where the text was no text."""

    divergence: float  # Kullback-Leibler, nats a token
    agreement: float  # how often both have the same likeliest token
    positions: int
    perplexity: float | None = None


@dataclass(slots=True)
class Result:
    """All there is of one candidate; `fault` says why there is no more."""

    candidate: Candidate
    version: str = ""
    step_bytes: int = 0
    file_bytes: int = 0
    visits: list[Visit] = field(default_factory=list)
    quality: Quality | None = None
    fault: str = ""

    @property
    def decode(self) -> list[float]:
        return [visit.decode_per_s for visit in self.visits]

    def first(self, prompt: int) -> list[float]:
        return [visit.first_s[prompt] for visit in self.visits]

    @property
    def share(self) -> list[float]:
        """Of the memory's bandwidth, what the reading of weights took, by rounds."""
        return [visit.decode_per_s * self.step_bytes / visit.bandwidth for visit in self.visits]

    def lines(self, characters: float) -> float:
        """Teletypes that it would feed, at that many characters a token."""
        return median(self.decode) * characters / LINE


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over theirs where more is better, theirs over ours where less is: above 1 we are ahead."""

    of_medians: float
    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of ours against one of theirs of the same width, by what was measured."""

    ours: str
    theirs: str
    ratios: dict[str, Ratio]


def ratio(better: Sequence[float], worse: Sequence[float]) -> Ratio:
    """Round by round `better` over `worse`; both are as long as there were rounds."""
    rounds = [a / b for a, b in zip(better, worse, strict=True)]
    return Ratio(median(better) / median(worse), median(rounds), min(rounds))


def comparisons(results: Sequence[Result], prompts: Sequence[int]) -> list[Comparison]:
    """Each of ours with each of theirs of its width, those that failed left out."""
    whole = [result for result in results if result.visits and not result.fault]
    own = [result for result in whole if result.candidate.engine == "ours"]
    others = [result for result in whole if result.candidate.engine != "ours"]
    return [
        Comparison(a.candidate.name, b.candidate.name, _ratios(a, b, prompts))
        for a in own
        for b in others
        if a.candidate.width == b.candidate.width
    ]


def _ratios(ours: Result, theirs: Result, prompts: Sequence[int]) -> dict[str, Ratio]:
    ratios = {"decode": ratio(ours.decode, theirs.decode)}
    for prompt in prompts:
        ratios[f"first token after {prompt}"] = ratio(theirs.first(prompt), ours.first(prompt))
    ratios["load"] = ratio([v.load_s for v in theirs.visits], [v.load_s for v in ours.visits])
    ratios["peak memory"] = ratio(
        [float(v.peak_bytes) for v in theirs.visits], [float(v.peak_bytes) for v in ours.visits]
    )
    return ratios


def slope(times: Sequence[float]) -> float:
    """By what share of their median the times grow from first to last, by the median of slopes (Theil and Sen)."""
    step = max(1, len(times) // 200)  # pairs grow with the square
    points = list(enumerate(times))[::step]
    slopes = [(b - a) / (j - i) for i, a in points for j, b in points if j > i]
    return median(slopes) * (len(times) - 1) / median(times) if slopes else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """One run of `asr33 bench`, as it is shown and as it is written."""

    about: dict[str, Any]  # machine, versions, options
    prompts: tuple[int, ...]
    characters: float  # a token, on the model's own tokenizer or by custom
    measured_characters: bool
    results: list[Result]
    absent: dict[Engine, str]  # peers that are not there, and how to get them
    order: list[list[str]]  # the names in each round, as they were visited

    def data(self) -> dict[str, Any]:
        """For JSON: every round's number, and what follows from them."""
        return {
            **self.about,
            "prompts": list(self.prompts),
            "characters_a_token": {"value": self.characters, "measured": self.measured_characters},
            "order": self.order,
            "candidates": [_data(result, self.prompts, self.characters) for result in self.results],
            "comparisons": [asdict(one) for one in comparisons(self.results, self.prompts)],
            "absent": self.absent,
        }


def _data(result: Result, prompts: Sequence[int], characters: float) -> dict[str, Any]:
    data = {"name": result.candidate.name} | asdict(result)
    for visit in data["visits"]:
        visit["first_s"] = {str(prompt): seconds for prompt, seconds in visit["first_s"].items()}
    if result.visits:
        data["median"] = {
            "decode_per_s": median(result.decode),
            "first_s": {str(prompt): median(result.first(prompt)) for prompt in prompts},
            "load_s": median(visit.load_s for visit in result.visits),
            "resident_bytes": median(visit.resident_bytes for visit in result.visits),
            "peak_bytes": median(visit.peak_bytes for visit in result.visits),
            "bandwidth": median(visit.bandwidth for visit in result.visits),
            "share_of_bandwidth": median(result.share),
            "lines": result.lines(characters),
        }
    return data
