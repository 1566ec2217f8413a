"""Judges what a daemon says of itself: whose it is, its configuration, its line, its spool, its paper. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.spool.paper_supply import HOLD_LINES, WARN_LINES
from tools.doctor.finding import NOTHING_READ, Examination, Finding, Unread, conclude, make_finding, not_examined

ROLL_CURE = "asr33 roll new 1000"
SYSTEM_CONFIG = "/etc/asr33/config.toml"
_NTP_CURE = "sudo timedatectl set-ntp true"
_BLOCKS = {  # the reason of the spool: id, sentence, cure
    "quiet hours": ("quiet-hours", "these are quiet hours: nothing of the spool prints", ""),
    "hush": ("hush", "the operator asked for silence: nothing of the spool prints", "type .HUSH 0 at the machine"),
    "private": (
        "private-time",
        "the operator's time is private: nothing of the spool prints",
        "type .PUBLIC at the machine",
    ),
    "the clock is not set": (
        "spool-clock",
        "there are quiet hours, and the clock is not set: nothing of the spool prints",
        _NTP_CURE,
    ),
    "paper": ("paper-out", f"at most {HOLD_LINES} lines of paper are left: nothing of the spool prints", ROLL_CURE),
}


@dataclass(frozen=True, slots=True)
class ConfigurationOrigin:
    """Where a configuration comes from: files in order, values of ASR33_ variables, names of options."""

    files: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DaemonReading:
    """What a daemon answered; `denied`: its socket is another user's; `silent`: it did not answer in time.

    `blocked`: why the spool prints nothing, or "". `lines_left`: of the roll, -1: not counted.
    """

    outcome: Literal["answered", "silent", "denied"]
    pid: int | None
    user: str
    is_own: bool
    line: str = ""
    doing: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    blocked: str | Unread = NOTHING_READ
    held_jobs: tuple[int, ...] = ()
    lines_left: int | Unread = NOTHING_READ
    origin: ConfigurationOrigin | Unread = NOTHING_READ

    @property
    def name(self) -> str:
        process = f"process {self.pid}" if self.pid is not None else "its process is not known"
        return f"the daemon of {self.user} ({process})"


def examine_daemon(reading: DaemonReading, own: ConfigurationOrigin) -> list[Examination]:
    """Examines one daemon; `own`: the configuration of the caller's commands."""
    subject = reading.line or f"user {reading.user}"
    if reading.outcome == "denied":
        examined = "control sockets and processes"
        return [
            conclude("daemon", subject, examined, [_other_user_finding(reading)]),
            not_examined("state of the daemon", subject, f"only {reading.user} and root may ask it"),
        ]
    if reading.outcome == "silent":
        sentence = f"{reading.name} has its control socket open and does not answer"
        cure = f"ps -fp {reading.pid}" if reading.pid is not None else "ps -ef"
        return [conclude("daemon", subject, "its control socket", [make_finding("daemon-silent", sentence, cure)])]
    has_other_files = isinstance(reading.origin, Unread) or bool(_find_differences(reading.origin, own))
    whose = _other_user_finding(reading) if has_other_files and not reading.is_own else None
    return [
        conclude("daemon", subject, f"it answered: {reading.doing or 'unknown activity'}", [whose]),
        _examine_origin(reading, subject, own),
        _examine_line(reading, subject),
        _examine_spool(reading, subject),
        _examine_paper(reading, subject),
    ]


def examine_no_daemon() -> list[Examination]:
    return [not_examined("daemon", "", "no daemon runs; asr33 run starts one")]


def _other_user_finding(reading: DaemonReading) -> Finding:
    sentence = f"{reading.name} has the machine: it reads the configuration of {reading.user} and of the system"
    return make_finding("daemon-of-another-user", f"{sentence}, and not yours", f"sudoedit {SYSTEM_CONFIG}")


def _examine_origin(reading: DaemonReading, subject: str, own: ConfigurationOrigin) -> Examination:
    name, theirs = "configuration of the daemon", reading.origin
    if isinstance(theirs, Unread):
        return not_examined(name, subject, theirs.why)
    differences = _find_differences(theirs, own)
    if differences and not reading.is_own:
        return not_examined(name, subject, f"it is that of {reading.user}")
    finding = None
    if differences:
        cure = f"sudoedit {theirs.files[-1] if theirs.files else SYSTEM_CONFIG}"
        finding = make_finding("daemon-other-configuration", f"{reading.name} {'; it '.join(differences)}", cure)
    return conclude(name, subject, "the names of its files, its variables and its options", [finding])


def _find_differences(theirs: ConfigurationOrigin, own: ConfigurationOrigin) -> list[str]:
    differences = []
    if theirs.files != own.files:
        differences.append(f"reads {_name_all(theirs.files)}, and your commands read {_name_all(own.files)}")
    if variables := sorted(_differing(theirs.variables, own.variables)):
        differences.append(f"has other values of {', '.join(variables)}")
    if theirs.options:
        differences.append(f"was started with {', '.join(theirs.options)}")
    return differences


def _name_all(files: tuple[str, ...]) -> str:
    return ", ".join(files) or "no file"


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> set[str]:
    return {name for name in {*first, *second} if first.get(name) != second.get(name)}


def _examine_line(reading: DaemonReading, subject: str) -> Examination:
    status, findings = reading.status, []
    if not status:
        return not_examined("line of the daemon", subject, "the daemon tells nothing of its line")
    if status.get("lost"):
        sentence = f"the daemon waits for {reading.line}, which hung up"
        findings.append(make_finding("line-lost", sentence, "ls -l /dev/serial/by-id/"))
    if status.get("paused"):
        sentence = "the operator stopped the paper with CTRL-S"
        findings.append(make_finding("line-stopped", sentence, "press CTRL-Q at the machine"))
    if status.get("is_noisy"):
        sentence = f"what comes from {reading.line} is noise, so that no key counts"
        cure = "mend the loop, leave the line quiet for two seconds, then press BREAK"
        findings.append(make_finding("line-noisy", sentence, cure))
    return conclude("line of the daemon", subject, "hang-ups, CTRL-S and noise, as the daemon tells them", findings)


def _examine_spool(reading: DaemonReading, subject: str) -> Examination:
    name, blocked, findings = "spool", reading.blocked, []
    if isinstance(blocked, Unread):
        return not_examined(name, subject, blocked.why)
    if blocked in _BLOCKS:
        finding_id, sentence, cure = _BLOCKS[blocked]
        findings.append(make_finding(finding_id, sentence, cure or f"sudoedit {_config_of(reading)}   # [spool] quiet"))
    elif blocked:
        return not_examined(name, subject, f"the daemon gives a reason that this asr33 does not know: {blocked}")
    if reading.held_jobs:
        ids = " ".join(map(str, reading.held_jobs))
        sentence = f"{len(reading.held_jobs)} jobs of the spool are held and do not print"
        findings.append(make_finding("jobs-held", sentence, f"asr33 spool release {ids}"))
    return conclude(name, subject, "the reason why nothing prints, and the jobs that are held", findings)


def _config_of(reading: DaemonReading) -> str:
    origin = reading.origin
    return origin.files[-1] if isinstance(origin, ConfigurationOrigin) and origin.files else SYSTEM_CONFIG


def _examine_paper(reading: DaemonReading, subject: str) -> Examination:
    left = reading.lines_left
    if isinstance(left, Unread):
        return not_examined("paper", subject, left.why)
    if left < 0:
        return not_examined("paper", subject, f"no roll is counted: {ROLL_CURE}")
    finding = None
    if left <= WARN_LINES:
        finding = make_finding("paper-low", f"{left} lines of paper are left: put in a new roll", ROLL_CURE)
    return conclude("paper", subject, f"{left} lines are left on the roll", [finding])
