"""What an examination found, and what was not examined. Pure: data in, data out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tools.doctor.catalogue import CATALOGUE, Severity

ExaminationState = Literal["found", "well", "not examined"]


@dataclass(frozen=True, slots=True)
class Unread:
    """A reading that could not be taken; `why` follows "not examined: "."""

    why: str


NOTHING_READ = Unread("nothing was read")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a reason why nothing prints. `cure`: a command, or a step at the machine where no command helps."""

    id: str
    severity: Severity
    sentence: str
    cure: str
    examined: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """One thing that was looked at in a `subject` such as a port. `examined`: what was read; `why_not`: or why not."""

    name: str
    subject: str
    examined: str
    findings: tuple[Finding, ...] = ()
    why_not: str = ""

    @property
    def state(self) -> ExaminationState:
        if self.findings:
            return "found"
        return "not examined" if self.why_not or not self.examined else "well"

    @property
    def title(self) -> str:
        return f"{self.name}: {self.subject}" if self.subject else self.name

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"state": self.state, "findings": [asdict(finding) for finding in self.findings]}


def make_finding(finding_id: str, sentence: str, cure: str) -> Finding:
    return Finding(finding_id, CATALOGUE[finding_id].severity, sentence, cure)


def conclude(
    name: str, subject: str, examined: str, findings: Iterable[Finding | None] = (), why_not: str = ""
) -> Examination:
    """Returns the examination; each finding gets what was examined. `why_not` counts if there is no finding."""
    told = tuple(replace(finding, examined=examined) for finding in findings if finding is not None)
    return Examination(name, subject, examined, told, "" if told else why_not)


def not_examined(name: str, subject: str, why: str) -> Examination:
    return Examination(name, subject, "", (), why)
