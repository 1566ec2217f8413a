"""The spool as the queue of a bridge: a talk on paper reads as it was spoken."""

from __future__ import annotations

from pathlib import Path

from daemon.bridges.spool_queue import SpoolQueue
from daemon.spool.budget import BudgetLimits
from daemon.spool.clock import SpoolClock
from daemon.spool.desk import SpoolDesk
from daemon.spool.job import JobRequest
from daemon.spool.paper_count import PaperCount
from daemon.spool.rules import SpoolRules
from daemon.spool.spool import Spool
from daemon.spool.store import SpoolStore
from drivers.profile import Profile

TALK = [("ann", "ann: who is there"), ("ann", "ann: and who not"), ("bob", "bob: I am"), ("ann", "ann: good")]


def open_desk(folder: Path, rules: SpoolRules) -> SpoolDesk:
    count = PaperCount(folder / "paper")
    return SpoolDesk(Spool(rules, count.supply), SpoolStore(folder / "spool"), SpoolClock(), count, Profile())


async def test_a_talk_stays_in_its_order_and_another_source_has_its_turn(tmp_path: Path) -> None:
    desk = open_desk(tmp_path, SpoolRules())
    queue = SpoolQueue(desk)
    for person, text in TALK:
        assert (await queue.submit("irc", person, text, talk="#paper")).refusal == ""
    await desk.submit(JobRequest("mail", "eve", ("A LETTER",)))
    printed = []
    while job := desk.next_job():
        printed.append(job.lines[0])
        desk.note_line(job.id)
    assert [line for line in printed if line != "A LETTER"] == [text.upper() for _, text in TALK]
    assert printed.index("A LETTER") == 1
    desk.close()


async def test_each_person_of_a_talk_has_its_own_budget_and_who_is_denied_is_told_so(tmp_path: Path) -> None:
    rules = SpoolRules(person_budget=BudgetLimits(hour=40), deny=("irc/eve",))
    desk = open_desk(tmp_path, rules)
    queue = SpoolQueue(desk)
    assert (await queue.submit("irc", "ann", "ann: " + "a" * 25, talk="#paper")).place == 1
    spent = await queue.submit("irc", "ann", "ann: " + "b" * 25, talk="#paper")
    assert "budget" in spent.refusal
    assert not spent.is_denied
    assert (await queue.submit("irc", "bob", "bob: hello", talk="#paper")).place == 2
    assert (await queue.submit("irc", "eve", "eve: hello", talk="#paper")).is_denied
    desk.close()
    again = open_desk(tmp_path, rules)  # the file knows of talks
    assert [job.turn for job in again.spool.jobs] == [("irc", "#paper")] * 2
    again.close()


async def test_a_text_becomes_lines_of_the_machine(tmp_path: Path) -> None:
    desk = open_desk(tmp_path, SpoolRules())
    receipt = await SpoolQueue(desk).submit("irc", "[jo]", "[jo]: café \U0001f600 " + "word " * 30, keep_s=60.0)
    assert receipt.place == 1
    [job] = desk.spool.jobs
    assert len(job.lines) == 3
    assert all(len(line.split("\r")[0]) <= 72 and line.isascii() for line in job.lines)
    assert job.keep_s == 60.0
    desk.close()
