"""What the paper says about the spool: the queue, the digest, the roll. Pure; each line fits the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from daemon.spool.job import SpoolJob
from daemon.spool.paper_supply import PaperSupply
from daemon.spool.spool import QueuePlace

MAX_ROWS = 20  # of .QUEUE: two seconds of paper each
MAX_WHO_CHARS, MAX_NAMES = 24, 3
BLOCK_TEXTS = {
    "private": "PRIVATE",
    "hush": "HUSH",
    "the clock is not set": "THE CLOCK IS NOT SET",
    "quiet hours": "QUIET HOURS",
    "paper": "THE PAPER ENDS SOON",
}


def format_queue(jobs: Sequence[SpoolJob], places: Sequence[QueuePlace], block_reason: str) -> str:
    """Returns the answer to .QUEUE: number, person, characters, place and minutes until paper of each job."""
    if not jobs:
        return "THE SPOOL IS EMPTY.\n"
    found = {place.job_id: place for place in places}
    rows = [f"{'ID':<6}{'WHO':<{MAX_WHO_CHARS + 2}}{'LENGTH':>7}{'PLACE':>7}{'MINUTES':>9}"]
    waiting = sorted((job for job in jobs if job.id in found), key=lambda job: found[job.id].place)
    others = [job for job in jobs if job.id not in found]
    for job in [*waiting, *others][:MAX_ROWS]:
        who = f"{job.source}/{job.person}"[:MAX_WHO_CHARS]
        place = found.get(job.id)
        when = format_minutes(place.seconds) if place else "HELD" if job.state == "held" else "?"
        rows.append(
            f"{job.id:<6}{who:<{MAX_WHO_CHARS + 2}}{job.chars_left:>7}{place.place if place else '-':>7}{when:>9}"
        )
    if len(jobs) > MAX_ROWS:
        rows.append(f"AND {len(jobs) - MAX_ROWS} MORE")
    if block_reason:
        rows.append(f"NOTHING PRINTS NOW: {BLOCK_TEXTS[block_reason]}")
    return "\n".join(rows) + "\n"


def format_minutes(seconds: float) -> str:
    """Returns whole minutes, rounded up, or a question mark if they are not known."""
    return "?" if seconds == float("inf") else f"{-int(-seconds // 60)}"


def format_digest(expired: Counter[str], columns: int) -> str:
    """Returns one line about the jobs that came too late: their count, and the persons with most of them."""
    count = expired.total()
    head = f"{count} JOB{'S' if count > 1 else ''} CAME TOO LATE"
    names = ", ".join(f"{person.upper()[:12]} {number}" for person, number in expired.most_common(MAX_NAMES))
    more = " AND OTHERS" if len(expired) > MAX_NAMES else ""
    line = f"-- {head}: {names}{more} --"
    return line if len(line) <= columns else f"-- {head} --"[:columns]


def format_paper(paper: PaperSupply) -> str:
    """Returns the state of the roll and the ribbon."""
    lines = "NOT COUNTED" if paper.lines_left is None else f"{paper.lines_left} LINES LEFT"
    return f"PAPER: {lines}. RIBBON: {paper.ribbon_chars} CHARACTERS STRUCK.\n"


def format_low_paper(paper: PaperSupply) -> str:
    return f"-- {paper.lines_left} LINES OF PAPER LEFT --"


def format_hush(minutes: float) -> str:
    """Returns the answer to .HUSH."""
    return f"HUSH: NOTHING OF THE SPOOL PRINTS FOR {minutes:.0f} MINUTES.\n" if minutes else "THE SPOOL PRINTS AGAIN.\n"
