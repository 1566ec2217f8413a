"""The spool of a session on a simulated machine: the clock jumps, the operator types, the disk fails."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import run_jumping

from daemon.config import Config, LineConfig
from daemon.control import protocol, server
from daemon.control.client import connect_to_daemon
from daemon.errors import DaemonRefused, SpoolRefused
from daemon.spool.budget import BudgetLimits
from daemon.spool.clock import SpoolClock
from daemon.spool.desk import SpoolDesk
from daemon.spool.job import JobRequest
from daemon.spool.layout import lay_out
from daemon.spool.paper_count import PaperCount
from daemon.spool.print_task import print_jobs_forever
from daemon.spool.quiet_hours import QuietHours, parse_quiet_rule
from daemon.spool.rules import SpoolRules
from daemon.spool.spool import Spool
from daemon.spool.store import SpoolStore
from drivers.errors import DriverError
from drivers.events import CharacterStruck, Event

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
NIGHT = QuietHours([parse_quiet_rule("22:00-07:00")], ZoneInfo("Europe/Berlin"))
IDLE_S = 5.0


async def run_at_once(work: Callable[[], None]) -> None:
    work()


class ComputerClock:
    """The clocks of a computer on the jumping loop: the wall clock starts at `wall` and may be set."""

    def __init__(self, wall: float, *, is_synchronised: bool = True) -> None:
        self.wall_at_start, self.started_at = wall, self.loop_time()
        self.is_synchronised = is_synchronised

    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def uptime(self) -> float:
        return self.loop_time() - self.started_at + 20.0

    def wall(self) -> float:
        return self.wall_at_start + self.loop_time() - self.started_at

    def set(self, wall: float) -> None:
        self.wall_at_start, self.is_synchronised = wall - (self.loop_time() - self.started_at), True

    def spool_clock(self) -> SpoolClock:
        return SpoolClock(self.wall, self.uptime, lambda: self.is_synchronised)


class SpoolBench:
    """A session with a spool, whose files are in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        rules: SpoolRules | None = None,
        clock: ComputerClock | None = None,
        store: Any = None,
        model: ScriptedModel | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of DaemonBench."""
        self.clock = clock or ComputerClock(NOON)
        self.daemon = DaemonBench(
            folder,
            model or ScriptedModel(split_words("a long answer. " * 8), pause_s=0.5),
            wait_for_line=True,
            **options,
        )
        count = PaperCount(folder / "paper")
        spool = Spool(rules or SpoolRules(), count.supply)
        store = store or SpoolStore(folder / "spool")
        profile = self.daemon.tty.profile
        self.desk = SpoolDesk(spool, store, self.clock.spool_clock(), count, profile, run_blocking=run_at_once)
        self.daemon.session.spool.desk = self.desk
        self.begun: list[tuple[int, int]] = []
        self.desk.on_begin = lambda job: self.begun.append((job.id, job.lines_done))
        observe = self.daemon.tty._on_event

        def on_event(event: Event) -> None:
            observe(event)
            count.on_event(event)

        self.daemon.tty._on_event = self.daemon.tty._transmitter._on_event = on_event
        self.printing = asyncio.ensure_future(print_jobs_forever(self.desk, self.daemon.session, IDLE_S))

    async def submit(self, person: str, text: str, **options: Any) -> int:
        lines = lay_out(text, self.desk.profile)
        return (await self.desk.submit(JobRequest("irc", person, lines, **options))).job_id

    def press(self, keys: str) -> None:
        self.daemon.line.press_keys(keys)

    @property
    def paper(self) -> str:
        return self.daemon.paper

    async def stop(self) -> None:
        for task in (self.printing, self.daemon.running):
            task.cancel()
        await asyncio.wait({self.printing, self.daemon.running})
        assert self.printing.cancelled(), self.printing
        self.desk.close()


@asynccontextmanager
async def spool_bench(folder: Path, **options: Any) -> AsyncIterator[SpoolBench]:
    bench = SpoolBench(folder, **options)
    try:
        await bench.daemon.session.listening.wait()
        yield bench
    finally:
        await bench.stop()


def lines_of(paper: str) -> list[str]:
    return [line for line in paper.splitlines() if line]


def test_ten_jobs_of_three_people_wait_for_an_answer_and_come_in_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            bench.press("GO ON\r")
            await asyncio.sleep(4)
            assert bench.daemon.session.activity == "printing"
            people = ["ann"] * 4 + ["bob"] * 3 + ["cat"] * 3
            ids = [await bench.submit(person, f"{person} {number}") for number, person in enumerate(people)]
            await bench.desk.cancel(ids[1])
            await bench.desk.hold(ids[4])
            await asyncio.sleep(120)
            printed = lines_of(bench.paper.split("ANSWER.")[-1])
            assert printed == ["READY", "ANN 0", "BOB 5", "CAT 7", "ANN 2", "BOB 6", "CAT 8", "ANN 3", "CAT 9", "READY"]
            await bench.desk.release(ids[4])
            await asyncio.sleep(30)
            assert lines_of(bench.paper)[-2:] == ["BOB 4", "READY"]
            bench.daemon.bench.assert_clean()

    run_jumping(main())


def test_a_job_gives_way_at_the_next_line_end_and_goes_on_after_the_operator(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            await bench.submit("ann", "\n".join(f"LINE {number} OF A LONG TEXT FROM ELSEWHERE" for number in range(6)))
            await asyncio.sleep(IDLE_S + 6)  # in its second line
            bench.press("WHO")
            await asyncio.sleep(8)
            assert lines_of(bench.paper)[-3:] == ["LINE 1 OF A LONG TEXT FROM ELSEWHERE", "READY", "WHO"]
            await asyncio.sleep(HOUR)  # the operator thinks
            assert lines_of(bench.paper)[-1] == "WHO"
            bench.press(" IS ADA\r")
            await asyncio.sleep(120)
            text = lines_of(bench.paper)
            assert [line for line in text if line.startswith("LINE")] == [
                f"LINE {number} OF A LONG TEXT FROM ELSEWHERE" for number in range(6)
            ]
            before, after = text.index("WHO IS ADA"), text.index("LINE 2 OF A LONG TEXT FROM ELSEWHERE")
            assert "ANSWER." in "".join(text[before:after])
            assert bench.begun == [(1, 0), (1, 2)]
            assert not bench.desk.spool.jobs
            bench.daemon.bench.assert_clean()

    run_jumping(main())


def test_nothing_prints_before_the_operator_was_quiet_for_a_while(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            await bench.submit("ann", "HELLO")
            for _ in range(10):
                bench.press("X\x7f")  # a key that the operator takes back each time
                await asyncio.sleep(IDLE_S - 1)
            assert "HELLO" not in bench.paper
            await asyncio.sleep(IDLE_S + 2)
            assert "HELLO" in bench.paper

    run_jumping(main())


def test_break_holds_the_job_and_release_prints_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            number = await bench.submit("ann", "\n".join(f"THIS IS LINE {number}" for number in range(4)))
            await asyncio.sleep(IDLE_S + 4)
            bench.daemon.line.press_break()
            await asyncio.sleep(60)
            assert [job.state for job in bench.desk.spool.jobs] == ["held"]
            assert "LINE 2" not in bench.paper
            await bench.desk.release(number)
            await asyncio.sleep(60)
            assert bench.paper.endswith("READY\nTHIS IS LINE 2\nTHIS IS LINE 3\n\nREADY\n")

    run_jumping(main())


def test_a_line_that_fails_interrupts_the_job_and_not_the_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            tty, failures = bench.daemon.tty, [DriverError("the motor does not start", "unavailable")]
            print_raw = tty.print_raw

            async def fail_once(text: str) -> None:
                if failures:
                    raise failures.pop()
                await print_raw(text)

            tty.print_raw = fail_once  # type: ignore[method-assign]
            await bench.submit("ann", "hello")
            await asyncio.sleep(60)
            assert "HELLO" in bench.paper
            assert "the motor does not start" in caplog.text

    run_jumping(main())


def test_after_fourteen_hours_without_the_line_sixty_jobs_are_a_digest_and_the_fresh_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path, rules=SpoolRules(max_jobs_per_person=60)) as bench:
            bench.daemon.line.hang_up()
            for number in range(60):
                await bench.submit(["ann", "bob"][number % 2], f"chat line {number}", keep_s=HOUR)
                await asyncio.sleep(14 * HOUR / 60)
            bench.daemon.line = bench.daemon.line.reconnect()
            bench.daemon.tty.attach(bench.daemon.line)
            await asyncio.sleep(120)
            printed = lines_of(bench.paper)
            digest = printed.index("-- 56 JOBS CAME TOO LATE: ANN 28, BOB 28 --")
            assert printed[digest + 1 :] == [*(f"CHAT LINE {number}" for number in range(56, 60)), "READY"]
            assert sum("CHAT" in line for line in printed) == 4

    run_jumping(main())


def test_after_fourteen_hours_without_the_daemon_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            bench.daemon.line.hang_up()
            for number in range(10):
                await bench.submit("ann", f"chat line {number}", keep_s=HOUR)
            await bench.submit("bob", "to be kept")
            await bench.submit("bob", "to be held")
            await bench.desk.hold(12)
        async with spool_bench(tmp_path, clock=ComputerClock(NOON + 14 * HOUR)) as bench:
            await asyncio.sleep(60)
            printed = lines_of(bench.paper)
            digest = printed.index("-- 10 JOBS CAME TOO LATE: ANN 10 --")
            assert printed[digest + 1 :] == ["TO BE KEPT", "READY"]
            assert [job.id for job in bench.desk.spool.jobs] == [12]
            assert await bench.submit("ann", "new") == 13

    run_jumping(main())


def test_a_computer_that_starts_in_1970_prints_when_its_clock_is_set_three_minutes_later(tmp_path: Path) -> None:
    """Quiet hours, and jobs from before the power cut: one is still fresh, one is too old."""
    rules = SpoolRules(quiet=NIGHT, person_budget=BudgetLimits(hour=100))

    async def main() -> None:
        async with spool_bench(tmp_path, rules=rules) as bench:
            bench.daemon.line.hang_up()
            await bench.submit("old", "too late", keep_s=HOUR)
            await bench.submit("young", "in time", keep_s=3 * HOUR)
        clock = ComputerClock(40.0, is_synchronised=False)
        async with spool_bench(tmp_path, rules=rules, clock=clock) as bench:
            await bench.submit("ann", "after the start", keep_s=HOUR)
            await bench.submit("bob", "held", keep_s=HOUR)
            await bench.desk.hold(4)
            assert "NOTHING PRINTS NOW: THE CLOCK IS NOT SET" in bench.desk.format_queue()
            await asyncio.sleep(180)
            assert lines_of(bench.paper)[-1] == "READY"
            clock.set(NOON + 2 * HOUR)
            await asyncio.sleep(120)
            assert lines_of(bench.paper)[-4:] == [
                "-- 1 JOB CAME TOO LATE: OLD 1 --",
                "IN TIME",
                "AFTER THE START",
                "READY",
            ]
            with pytest.raises(SpoolRefused, match="budget"):  # what was struck counts by the new clock
                await bench.submit("ann", "X" * 90)
        async with spool_bench(tmp_path, rules=rules, clock=ComputerClock(NOON + 2 * HOUR + 600)) as bench:
            assert [job.added_at for job in bench.desk.spool.jobs] == [pytest.approx(NOON + 2 * HOUR - 180, abs=5)]
            with pytest.raises(SpoolRefused, match="budget"):
                await bench.submit("ann", "X" * 90)

    run_jumping(main())


def test_a_night_is_silent_from_its_first_minute_to_its_last_and_a_job_goes_on_in_the_morning(tmp_path: Path) -> None:
    async def main() -> None:
        evening = datetime(
            2026, 10, 24, 21, 59, 20, tzinfo=ZoneInfo("Europe/Berlin")
        ).timestamp()  # the clock goes back
        clock = ComputerClock(evening - 60)
        async with spool_bench(tmp_path, rules=SpoolRules(quiet=NIGHT), clock=clock) as bench:
            await asyncio.sleep(evening - clock.wall())
            await bench.submit("ann", "\n".join(f"LINE {number:02} " + "X" * 40 for number in range(30)))
            await asyncio.sleep(45)
            before = bench.daemon.tty.counters.struck
            await asyncio.sleep(10 * HOUR - 20)
            assert bench.daemon.tty.counters.struck - before < 12  # READY after the line in which the night began
            await asyncio.sleep(300)
            printed = [line[:7] for line in lines_of(bench.paper) if line.startswith("LINE ")]
            assert printed == [f"LINE {number:02}" for number in range(30)]

    run_jumping(main())


def test_the_operator_sees_the_queue_and_asks_for_silence(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            await bench.daemon.type(".QUEUE")
            await bench.daemon.type(".HUSH 60")
            await bench.submit("ada", "hello there")
            await bench.daemon.type(".QUEUE")
            await bench.daemon.session.listening.wait()
            assert "THE SPOOL IS EMPTY." in bench.paper
            assert "HUSH: NOTHING OF THE SPOOL PRINTS FOR 60 MINUTES." in bench.paper
            queue = bench.paper.split(".QUEUE")[-1].splitlines()
            assert [line.split() for line in queue[1:4]] == [
                ["ID", "WHO", "LENGTH", "PLACE", "MINUTES"],
                ["1", "IRC/ADA", "13", "1", "60"],
                ["NOTHING", "PRINTS", "NOW:", "HUSH"],
            ]
            await asyncio.sleep(HOUR - 120)
            assert "HELLO" not in bench.paper
            await asyncio.sleep(150)
            assert lines_of(bench.paper)[-2:] == ["HELLO THERE", "READY"]
            for wrong in (".HUSH X", ".HUSH -1", ".HUSH 99999"):
                await bench.daemon.type(wrong)
            await bench.daemon.type(".HUSH 0")
            await bench.daemon.type(".QUEUE NOW")
            await bench.daemon.session.listening.wait()
            assert bench.paper.count("SAY FOR HOW MANY MINUTES") == 3
            assert "THE SPOOL PRINTS AGAIN." in bench.paper

            assert ".QUEUE TAKES NO WORD AFTER IT.\n" in bench.paper

    run_jumping(main())


def test_while_the_operator_is_private_the_spool_waits_and_what_grows_too_old_is_a_digest(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            privacy = bench.daemon.session.privacy
            privacy.listeners.append(bench.desk.set_private)
            await bench.daemon.type(".PRIVATE")
            await bench.submit("ada", "too late", keep_s=HOUR)
            await bench.submit("bob", "hello there")
            await bench.daemon.type(".QUEUE")
            await asyncio.sleep(2 * HOUR)
            assert "NOTHING PRINTS NOW: PRIVATE" in bench.paper
            assert not {"HELLO THERE", "TOO LATE"} & set(lines_of(bench.paper))
            await bench.daemon.type(".PUBLIC")
            await asyncio.sleep(60)
            assert lines_of(bench.paper)[-3:] == ["-- 1 JOB CAME TOO LATE: ADA 1 --", "HELLO THERE", "READY"]

    run_jumping(main())


def test_the_end_of_the_roll_holds_the_spool_and_not_the_operator(tmp_path: Path) -> None:
    async def main() -> None:
        async with spool_bench(tmp_path) as bench:
            bench.desk.count.begin_roll(104)
            await bench.submit("ann", "\n".join("X" for _ in range(100)))
            await asyncio.sleep(200)
            assert bench.paper.count("-- 100 LINES OF PAPER LEFT --") == 1
            assert bench.desk.spool.paper.lines_left in (27, 28)  # READY has its lines too
            assert "THE PAPER ENDS SOON" in bench.desk.format_queue()
            left = [job.lines_done for job in bench.desk.spool.jobs]
            await bench.daemon.type("GO ON")
            await bench.daemon.session.listening.wait()
            assert "A LONG ANSWER." in bench.paper
            await asyncio.sleep(HOUR)
            assert [job.lines_done for job in bench.desk.spool.jobs] == left
            assert PaperCount(tmp_path / "paper").supply.lines_left is not None
            bench.desk.count.begin_roll(1000)
            bench.desk.changed.set()
            await asyncio.sleep(100)
            assert not bench.desk.spool.jobs
            assert lines_of(bench.paper).count("X") == 100

    run_jumping(main())


# The file.


class FullDisk(SpoolStore):
    """A store whose disk is full while `is_full`."""

    is_full = False

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(records)

    def replace(self, snapshot: Sequence[Mapping[str, Any]]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().replace(snapshot)


def test_while_the_disk_is_full_jobs_are_refused_and_none_prints_and_none_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        store = FullDisk(tmp_path / "spool")
        async with spool_bench(tmp_path, store=store) as bench:
            await bench.submit("ann", "\n".join(f"LINE {number}" for number in range(8)))
            await asyncio.sleep(IDLE_S + 3)
            store.is_full = True
            with pytest.raises(SpoolRefused, match="No space left"):
                await bench.submit("bob", "hello")
            await asyncio.sleep(HOUR)
            printed = [line for line in lines_of(bench.paper) if line.startswith("LINE")]
            assert len(printed) < 5
            await bench.daemon.type("GO ON")  # the operator is served
            await bench.daemon.session.listening.wait()
            assert "A LONG ANSWER." in bench.paper
            store.is_full = False
            await asyncio.sleep(HOUR)
            printed = [line for line in lines_of(bench.paper) if line.startswith("LINE")]
            assert printed == [f"LINE {number}" for number in range(8)]

    run_jumping(main())


def test_a_torn_or_damaged_file_loses_no_record_before_the_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool"
    store = SpoolStore(path)
    assert store.read() == []
    store.replace([{"ev": "a"}])
    store.append([{"ev": "b"}, {"ev": "c"}])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert SpoolStore(path).read() == [{"ev": name} for name in "abc"][: whole[:size].count(b"\n")]
    assert not caplog.records
    path.write_bytes(whole.replace(b'{"ev":"b"}', b"\x00\xff\x00"))
    assert SpoolStore(path).read() == [{"ev": "a"}]
    assert "line 2 is no record" in caplog.text
    assert (tmp_path / "spool.damaged").exists()
    assert path.stat().st_mode & 0o077 == 0


def test_records_that_do_not_fit_are_kept_aside_and_the_spool_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        store = SpoolStore(tmp_path / "spool")
        store.replace([{"ev": "line", "id": 7, "at": NOON}])
        store.close()
        async with spool_bench(tmp_path) as bench:
            assert await bench.submit("ann", "hello") == 1
            assert (tmp_path / "spool.damaged").exists()

    run_jumping(main())


def test_the_file_is_written_anew_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.spool.store.MAX_APPENDED_BYTES", 2000)

    async def main() -> None:
        async with spool_bench(tmp_path, rules=SpoolRules(max_jobs_per_person=99)) as bench:
            await bench.desk.hush(60)
            for number in range(60):
                job_id = await bench.submit("ann", f"line {number}")
                await bench.desk.cancel(job_id)
            await bench.submit("ann", "the last")
            assert (tmp_path / "spool").stat().st_size < 6000
        async with spool_bench(tmp_path) as bench:
            assert [job.id for job in bench.desk.spool.jobs] == [61]

    run_jumping(main())


# The clock.


@pytest.mark.parametrize(
    ("wall", "uptime", "is_synchronised", "is_set"),
    [
        (NOON, 20.0, True, True),
        (NOON, 20.0, False, False),  # perhaps the time of the last shutdown
        (NOON, 700.0, False, True),  # no server will come
        (40.0, 700.0, False, False),
        (40.0, 20.0, True, False),
    ],
)
def test_when_a_clock_counts_as_set(wall: float, uptime: float, is_synchronised: bool, is_set: bool) -> None:
    assert SpoolClock(lambda: wall, lambda: uptime, lambda: is_synchronised).is_set == is_set


def test_a_step_of_the_clock_is_told_once_and_followed() -> None:
    walls, uptimes = [40.0], [20.0]
    clock = SpoolClock(lambda: walls[0], lambda: uptimes[0], lambda: False)
    walls[0], uptimes[0] = 51.0, 30.0  # a second of drift
    assert (clock.check(), clock.now(), clock.is_set) == (0.0, 50.0, False)
    walls[0] = NOON
    assert clock.check() == NOON - 50.0
    assert (clock.check(), clock.now(), clock.is_set) == (0.0, NOON, True)


# The count of the paper.


def test_the_paper_count_survives_a_kill_within_thirty_lines(tmp_path: Path) -> None:
    count = PaperCount(tmp_path / "paper")
    count.begin_roll(500)
    for byte in b"HELLO\r\n" * 65:
        count.on_event(CharacterStruck(0.0, 0.0, byte, 0))
    again = PaperCount(tmp_path / "paper")  # nothing was closed
    assert again.supply.lines_left == 440
    assert again.supply.ribbon_chars == 60 * 5
    count.close()
    assert PaperCount(tmp_path / "paper").supply.lines_left == 435
    (tmp_path / "paper").write_text("[]")
    assert PaperCount(tmp_path / "paper").supply.lines_left is None


# The control socket.


def test_commands_reach_the_spool_through_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def main() -> None:
        async with spool_bench(tmp_path) as bench, server.serve_control(bench.daemon.session, "memory"):
            bench.press("A LINE THAT IS BEING TYPED")
            async with connect_to_daemon(Config(line=LineConfig("memory"))) as daemon:
                submit = protocol.SubmitJob("Hello, world.", "mail", "ada", once="1")
                accepted = await daemon.request(submit, protocol.SpoolAccepted)
                assert (accepted.job_id, accepted.place, accepted.seconds, accepted.is_repeat) == (1, 1, 0.0, False)
                assert (await daemon.request(submit, protocol.SpoolAccepted)).is_repeat
                await daemon.request(protocol.SubmitJob("Held", "mail", "bob"), protocol.SpoolAccepted)
                await daemon.request(protocol.ChangeJobs("hold", 2), protocol.SpoolChanged)
                report = await daemon.request(protocol.ListJobs(), protocol.SpoolReport)
                rows = [(row["id"], row["person"], row["place"], row["seconds"], row["state"]) for row in report.jobs]
                assert rows == [(1, "ada", 1, 0.0, "waiting"), (2, "bob", 0, -1.0, "held")]
                with pytest.raises(DaemonRefused, match="no job 9") as refusal:
                    await daemon.request(protocol.ChangeJobs("cancel", 9), protocol.SpoolChanged)
                assert refusal.value.exit_code == 66
                cleared = await daemon.request(protocol.ChangeJobs("clear", person="ADA"), protocol.SpoolChanged)
                assert cleared.count == 1
                paper = await daemon.request(protocol.ChangePaper("roll", 1000), protocol.PaperReport)
                assert paper.lines_left == 1000
                with pytest.raises(DaemonRefused, match="a roll has"):
                    await daemon.request(protocol.ChangePaper("roll", 0), protocol.PaperReport)
                await daemon.request(protocol.ChangePaper("ribbon"), protocol.PaperReport)

    run_jumping(main())


def test_a_session_without_a_spool_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("so.")))
        async with server.serve_control(daemon.session, "memory"):
            await daemon.type(".QUEUE")
            await daemon.type(".HUSH 5")
            async with connect_to_daemon(Config(line=LineConfig("memory"))) as connection:
                with pytest.raises(DaemonRefused, match="no spool"):
                    await connection.request(protocol.ListJobs(), protocol.SpoolReport)
            await daemon.session.listening.wait()
        assert daemon.paper.count("THIS SESSION HAS NO SPOOL.") == 2
        daemon.running.cancel()

    run_jumping(main())
