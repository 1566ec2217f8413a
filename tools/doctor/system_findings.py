"""Judges the computer: its clock, disks and folders, the systemd units, the configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.system_clock import ClockState
from tools.doctor.finding import Examination, Unread, conclude, make_finding, not_examined

MIN_FREE_BYTES = 50_000_000  # months of session logs, and room for the index
MIN_FREE_FILES = 100
FAILED = "failed"  # systemctl(1): the ACTIVE state of a unit whose process ended with an error


@dataclass(frozen=True, slots=True)
class FolderReading:
    """A folder, or the nearest folder above it that is there.

    `free_bytes` None: the disk was not read; `free_files` None: it counts no files; `may_write` None: it is the
    service's, and not for you to write to.
    """

    purpose: str
    path: str
    free_bytes: int | None
    free_files: int | None
    is_read_only: bool
    may_write: bool | None


@dataclass(frozen=True, slots=True)
class UnitsReading:
    """`installed`: whether the unit of the daemon is there; `states`: the loaded units and their ACTIVE states."""

    installed: bool
    states: tuple[tuple[str, str], ...] = ()


def examine_clock(state: ClockState) -> Examination:
    if state == "unknown":
        return not_examined("clock", "", "this computer does not tell whether a time server has set its clock")
    sentence = "no time server has set the clock: times in the log and quiet hours may be wrong"
    finding = make_finding("clock-not-set", sentence, "sudo timedatectl set-ntp true") if state == "not set" else None
    return conclude("clock", "", "the kernel's state of the clock, and the mark of systemd-timesyncd", [finding])


def examine_folder(reading: FolderReading | Unread, purpose: str = "") -> Examination:
    if isinstance(reading, Unread):
        return not_examined("folder", purpose, reading.why)
    path, findings = reading.path, []
    if reading.is_read_only:
        sentence = f"{path} ({reading.purpose}) is on a disk that is mounted read-only"
        findings.append(make_finding("folder-read-only", sentence, f"findmnt --target {path}"))
    elif reading.may_write is False:
        sentence = f"you may not write to {path} ({reading.purpose})"
        findings.append(make_finding("folder-denied", sentence, f"ls -ld {path}"))
    few_files = reading.free_files is not None and reading.free_files < MIN_FREE_FILES
    free = "unknown" if reading.free_bytes is None else f"{reading.free_bytes / 1e6:,.0f} MB"
    if few_files or (reading.free_bytes is not None and reading.free_bytes < MIN_FREE_BYTES):
        what = f"{reading.free_files} files" if few_files else free
        sentence = f"the disk of {path} ({reading.purpose}) has room for {what} more"
        findings.append(make_finding("disk-full", sentence, f"df -h {path}"))
    permission = "" if reading.may_write is None else ", the permission to write"
    examined = f"{path}: free space {free}{permission}"
    return conclude("folder", reading.purpose, examined, findings)


def examine_units(reading: UnitsReading | Unread) -> list[Examination]:
    name = "systemd unit"
    if isinstance(reading, Unread):
        return [not_examined(name, "", reading.why)]
    if not reading.installed:
        sentence = "no systemd unit of asr33 is installed, so that no daemon starts at boot"
        finding = make_finding("unit-absent", sentence, "sudo asr33 install")
        return [conclude(name, "asr33@.service", "the folders of systemd", [finding])]
    if not reading.states:
        return [not_examined(name, "asr33@.service", "it is installed, and none is started")]
    found = []
    for unit, state in reading.states:
        sentence = f"{unit} has failed: its last messages say why; then sudo systemctl restart {unit}"
        failure = make_finding("unit-failed", sentence, f"journalctl -n 20 -u {unit}") if state == FAILED else None
        found.append(conclude(name, unit, f"its state: {state}", [failure]))
    return found


def examine_configuration(files: tuple[str, ...], error: str = "") -> Examination:
    """`error`: why the configuration cannot be read, or "". The message begins with the name of its file."""
    file = next((file for file in reversed(files) if error.startswith(file)), files[-1] if files else "")
    cure = f"sudoedit {file}" if file else "env | grep ASR33_"
    finding = make_finding("configuration-wrong", error, cure) if error else None
    return conclude("configuration", "", ", ".join(files) or "defaults and variables: there is no file", [finding])
