"""Answers the requests about the spool and the paper. It does not know the connection that they came on."""

from __future__ import annotations

from typing import Any

from daemon.control import protocol
from daemon.errors import SpoolRefused
from daemon.spool.desk import SpoolDesk
from daemon.spool.job import JobRequest
from daemon.spool.layout import lay_out

MAX_ROLL_LINES = 1_000_000
NO_SPOOL = protocol.RefusedReply("this daemon has no spool: its log says why", 69)


async def answer_spool_request(
    desk: SpoolDesk | None, request: protocol.SpoolRequest
) -> protocol.SpoolResponse | protocol.RefusedReply:
    if desk is None:
        return NO_SPOOL
    try:
        match request:
            case protocol.SubmitJob():
                return await _submit(desk, request)
            case protocol.ListJobs():
                return _report(desk)
            case protocol.ChangeJobs():
                return protocol.SpoolChanged(await _change(desk, request))
            case protocol.ChangePaper():
                return _change_paper(desk, request)
    except SpoolRefused as refusal:
        when = "" if refusal.retry_after_s is None else f" (in {refusal.retry_after_s:.0f} seconds)"
        return protocol.RefusedReply(f"{refusal}{when}", refusal.exit_code)


async def _submit(desk: SpoolDesk, request: protocol.SubmitJob) -> protocol.SpoolAccepted:
    lines = lay_out(request.text, desk.profile, raw=request.raw, style=request.style, overstrike=request.overstrike)
    keep_s = request.keep_s if request.keep_s > 0 else desk.keep_s
    place = await desk.submit(JobRequest(request.source, request.person, lines, keep_s, request.once))
    return protocol.SpoolAccepted(place.job_id, place.place, _finite(place.seconds), place.is_repeat)


def _report(desk: SpoolDesk) -> protocol.SpoolReport:
    now = desk.clock.now()
    jobs = {job.id: job for job in desk.spool.jobs}
    places = {place.job_id: place for place in desk.spool.places(now)}
    rows: list[dict[str, Any]] = []
    for job_id in [*places, *(job_id for job_id in jobs if job_id not in places)]:
        job, place = jobs[job_id], places.get(job_id)
        where = {"place": place.place, "seconds": _finite(place.seconds)} if place else {"place": 0, "seconds": -1.0}
        state = "printing" if job.is_begun and job.state == "waiting" else job.state
        row = {"id": job.id, "source": job.source, "person": job.person, "chars": job.chars_left, "state": state}
        rows.append(row | where)
    return protocol.SpoolReport(rows, desk.spool.block_reason(now))


async def _change(desk: SpoolDesk, request: protocol.ChangeJobs) -> int:
    match request.action:
        case "cancel":
            await desk.cancel(request.job_id)
        case "hold":
            await desk.hold(request.job_id)
        case "release":
            await desk.release(request.job_id)
        case "clear":
            return await desk.clear(request.person or None)
    return 1


def _change_paper(desk: SpoolDesk, request: protocol.ChangePaper) -> protocol.PaperReport | protocol.RefusedReply:
    if request.action == "roll":
        if not 0 < request.lines <= MAX_ROLL_LINES:
            return protocol.RefusedReply(f"a roll has 1 to {MAX_ROLL_LINES:,} lines", 65)
        desk.count.begin_roll(request.lines)
        desk.changed.set()
    elif request.action == "ribbon":
        desk.count.begin_ribbon()
    supply = desk.count.supply
    return protocol.PaperReport(-1 if supply.lines_left is None else supply.lines_left, supply.ribbon_chars)


def _finite(seconds: float) -> float:
    """Returns the seconds as JSON knows them."""
    return -1.0 if seconds == float("inf") else seconds
