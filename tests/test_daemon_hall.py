"""A machine in a public place: each visitor begins afresh. A receive-only machine, whose only key is BREAK."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, on_jumping_loop, run_jumping
from test_spool_desk import HOUR, NOON, ComputerClock, SpoolBench

from daemon.config import AnswerConfig, Config, HallConfig
from daemon.conversation import sentence_case
from daemon.errors import SpoolRefused
from daemon.machine_address import MachineAddress, submit_address_forever
from daemon.privacy import Privacy
from daemon.spool.budget import BudgetLimits
from daemon.spool.rules import SpoolRules
from drivers.profile import Profile
from model.dialogue import Speakers
from model.interface import Sampling, TextChunk

HALL = HallConfig(forget_after=60.0)
FORGOTTEN = "-- FORGOTTEN: THE NEXT VISITOR BEGINS AFRESH --\n"
NOTHING = "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"
PUBLIC_PLACE = "THIS IS A PUBLIC PLACE: NOTHING IS SAVED, LOADED OR CHANGED.\n"
ANN = Speakers("Ann", "You")


class EchoModel(ScriptedModel):
    """Answers with the last words of the prompt, and notes seeds and temperatures."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.words = split_words(" ".join(prompt.split()[-3:]).replace(":", "") + " indeed.")
        async for chunk in super().stream(prompt, sampling):
            yield chunk


@on_jumping_loop
async def test_after_a_silence_the_next_visitor_begins_afresh(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HALL, other_speakers=ANN)
    for line in (".MODE", ".TEMP 1.9", ".SEED 99", "I AM ADA"):
        await daemon.ask(line)
    await asyncio.sleep(55.0)
    await daemon.ask("STILL ADA")
    assert model.last_prompt == "You: I am Ada\nAnn: ok.\nYou: Still Ada\nAnn:"
    await asyncio.sleep(65.0)
    assert daemon.paper.endswith(f"{FORGOTTEN}\nREADY\n")
    assert await daemon.ask(".AGAIN") == await daemon.ask(".BACK") == await daemon.ask(".MORE") == NOTHING
    assert await daemon.ask(".WHO") == "SCRIPT GOES ON WITH YOUR TEXT, TEMPERATURE 0.7, SEED 7\n"
    await daemon.ask("I AM BOB")
    assert model.last_prompt == "I am bob"
    assert model.seed == 7
    await asyncio.sleep(3 * HOUR)
    assert daemon.paper.count("FORGOTTEN") == 2
    daemon.running.cancel()


@on_jumping_loop
async def test_a_begun_line_of_the_last_visitor_is_no_part_of_the_next_line(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HALL)
    await daemon.session.listening.wait()
    daemon.bench.line.press_keys("MY NAME IS ADA")
    await asyncio.sleep(70.0)
    await daemon.ask("HELLO")
    assert model.last_prompt == "Hello"
    assert not any("Ada" in text for when, text in model.prefills if when > 65.0)
    daemon.bench.assert_clean()
    daemon.running.cancel()


@on_jumping_loop
async def test_nothing_of_a_public_place_is_saved_and_nothing_is_loaded(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), hall=HALL)
    await daemon.ask("I AM ADA")
    assert await daemon.ask(".SAVE ADA") == await daemon.ask(".LOAD ADA") == await daemon.ask(".LOAD") == PUBLIC_PLACE
    daemon.running.cancel()


@on_jumping_loop
async def test_a_visitor_who_takes_all_back_leaves_no_seed_behind(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HALL)
    await daemon.ask("I AM ADA")
    await daemon.ask(".BACK")
    await asyncio.sleep(65.0)
    await daemon.ask("I AM BOB")
    assert model.seed == 7
    daemon.running.cancel()


@pytest.mark.parametrize("leave", [".BYE", "\x04"])
@on_jumping_loop
async def test_a_visitor_who_leaves_ends_the_visit_and_not_the_daemon(tmp_path: Path, leave: str) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HallConfig(forget_after=60.0, tear_off=5))
    await daemon.ask("I AM ADA")
    await daemon.session.listening.wait()
    daemon.bench.line.press_keys(leave if leave == "\x04" else f"{leave}\r")
    await asyncio.sleep(12.0)
    assert daemon.paper.endswith(f"{FORGOTTEN}{chr(10) * 5}\nREADY\n")
    await daemon.ask("I AM BOB")
    assert model.last_prompt == "I am bob"
    daemon.running.cancel()


@on_jumping_loop
async def test_a_private_time_ends_with_its_visitor(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HALL, privacy=Privacy(tmp_path / "state"))
    await daemon.ask("I AM ADA")
    await daemon.ask(".PRIVATE")
    await daemon.ask("A SECRET")
    await asyncio.sleep(75.0)
    assert not daemon.session.privacy.is_on
    await daemon.ask("I AM BOB")
    assert model.last_prompt == "I am bob"
    assert "SECRET" not in daemon.log.path.read_text()
    daemon.running.cancel()


@on_jumping_loop
async def test_a_visit_ends_while_the_machine_is_lent(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model, hall=HALL)
    await daemon.ask("I AM ADA")
    with daemon.session.leases.request_lease() as lease:
        await lease.granted.wait()
        await asyncio.sleep(90.0)
        daemon.bench.line.press_keys("I AM BOB\r")  # typed ahead
    await asyncio.sleep(15.0)
    assert model.last_prompt == "I am bob"
    with daemon.session.leases.request_lease() as lease:
        await lease.granted.wait()
        await asyncio.sleep(90.0)
        await daemon.session.run_line("I AM CY", AnswerConfig(), Speakers())
    assert model.last_prompt == "I am cy"
    daemon.running.cancel()


@on_jumping_loop
async def test_each_answer_is_fed_so_far_that_it_can_be_torn_off(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), hall=HallConfig(tear_off=6))
    assert await daemon.ask("GO") == "OK.\n" + "\n" * 6
    assert await daemon.ask(".AGAIN") == "OK.\n" + "\n" * 6
    assert await daemon.ask(".TEAR") == "\n" * 6
    daemon.running.cancel()


@on_jumping_loop
async def test_a_receive_only_machine_has_break_alone(tmp_path: Path) -> None:
    model = ScriptedModel(split_words(PROSE), context=4000)
    profile = Profile(keyboard="none", duplex="full")
    daemon = DaemonBench(tmp_path, model, profile=profile)
    await daemon.session.listening.wait()
    await asyncio.sleep(5.0)
    assert daemon.paper.endswith("PRESS BREAK, AND THE MACHINE GOES ON; PRESS IT AGAIN, AND IT STOPS.\n")
    daemon.bench.line.press_keys("NOISE\r\x03\x04\x13 AND MORE\r")
    await asyncio.sleep(5.0)
    assert model.prompts == 0
    daemon.bench.line.press_break()
    await asyncio.sleep(8.0)
    assert model.prompts == 1
    daemon.bench.line.press_keys("\x03NOISE\r")
    await asyncio.sleep(1.0)
    assert daemon.session.activity == "printing"
    daemon.bench.line.press_break()
    await asyncio.sleep(3.0)
    assert daemon.session.activity == "listening"
    assert daemon.paper.endswith("^C\n")
    assert "READY" not in daemon.paper
    sheet = daemon.paper.split("IT STOPS.\n")[1].removesuffix("^C\n")
    daemon.bench.line.press_break()
    await asyncio.sleep(2.0)
    assert "".join(model.last_prompt.upper().split()) == "".join(sheet.split())
    daemon.bench.line.press_break()
    await asyncio.sleep(2.0)
    daemon.bench.assert_clean()
    daemon.running.cancel()


@on_jumping_loop
async def test_the_address_is_struck_once_after_a_boot_and_when_it_changes(tmp_path: Path) -> None:
    bench, now = SpoolBench(tmp_path), [""]
    address = MachineAddress(Config(), lambda: now[0])
    watching = asyncio.ensure_future(submit_address_forever(address, bench.desk, "boot-1"))
    await asyncio.sleep(120.0)
    assert "10.0.0" not in bench.paper
    for own in ("10.0.0.7", "", "10.0.0.7", "10.0.0.8"):
        now[0] = own
        await asyncio.sleep(90.0)
    watching.cancel()
    assert [line[-8:] for line in bench.paper.splitlines() if "10.0.0" in line] == ["10.0.0.7", "10.0.0.8"]
    again = asyncio.ensure_future(submit_address_forever(address, bench.desk, "boot-1"))
    await asyncio.sleep(90.0)
    again.cancel()
    assert bench.paper.count("10.0.0.8") == 1
    booted = asyncio.ensure_future(submit_address_forever(address, bench.desk, "boot-2"))
    await asyncio.sleep(90.0)
    booted.cancel()
    assert bench.paper.count("10.0.0.8") == 2
    await bench.stop()


# Days of a public place.

HOUR_LIMIT, DAY_LIMIT = 300, 1_200
FIRST_VISIT_S, LAST_VISIT_S = 9 * HOUR, 17 * HOUR
DEEDS = ("LINE", "LINE", "LINE", ".AGAIN", ".BACK", ".MORE", ".TEMP 1.9", ".SEED 4", ".MODE", ".PRIVATE", "BREAK")
WAYS_TO_LEAVE = ("silence", "silence", "begun line", ".BYE", ".SAVE ADA")


def check_days(folder: Path, days: int, visits: int, seed: int) -> None:
    """Lets visitors come and go, and others send jobs, for so many days; then reads the log."""
    rng = random.Random(seed)
    spent: dict[str, list[tuple[float, int]]] = defaultdict(list)
    objects: list[int] = []
    started_at: list[float] = []

    async def visit(bench: SpoolBench, name: str) -> None:
        async def wait() -> None:
            await bench.daemon.session.listening.wait()

        daemon = bench.daemon
        for number in range(rng.randint(1, 5)):
            deed = rng.choice(DEEDS) if number else "LINE"
            await wait()
            if deed == "BREAK":
                bench.press(f"BREAK ME {name}\r")
                await asyncio.sleep(rng.uniform(2.0, 6.0))
                daemon.bench.line.press_break()
            else:
                bench.press(f"{'I AM ' + name if deed == 'LINE' else deed}\r")
            await asyncio.sleep(3.0 + rng.uniform(0.0, 20.0))
        await wait()
        match rng.choice(WAYS_TO_LEAVE):
            case "begun line":
                bench.press(f"{name} WAS HE")
            case "silence":
                pass
            case command:
                bench.press(f"{command}\r")

    async def send_jobs(bench: SpoolBench) -> None:
        while True:
            await asyncio.sleep(rng.expovariate(1 / 900.0))
            person = rng.choice("PQRS")
            try:
                await bench.submit(person, f"{person} sends {'words ' * rng.randint(5, 40)}", keep_s=6 * HOUR)
            except SpoolRefused:
                continue

    async def main() -> None:
        limits = BudgetLimits(HOUR_LIMIT, DAY_LIMIT)
        rules, clock = SpoolRules(person_budget=limits, source_budget=limits), ComputerClock(NOON - 12 * HOUR)
        model = EchoModel([], context=400)
        bench = SpoolBench(
            folder,
            rules=rules,
            clock=clock,
            model=model,
            hall=HALL,
            other_speakers=ANN,
            privacy=Privacy(folder / "state"),
        )
        note_line = bench.desk.note_line

        def note(job_id: int) -> None:
            [job] = [job for job in bench.desk.spool.jobs if job.id == job_id]
            spent[job.person].append((clock.wall(), len(job.lines[job.lines_done]) + 2))
            note_line(job_id)

        bench.desk.note_line = note  # type: ignore[method-assign]
        sending = asyncio.ensure_future(send_jobs(bench))
        number = 0
        for day in range(days):
            for moment in sorted(rng.uniform(FIRST_VISIT_S, LAST_VISIT_S) for _ in range(visits)):
                await asyncio.sleep(max(0.0, day * 24 * HOUR + moment - clock.loop_time()))
                await bench.daemon.session.listening.wait()
                await asyncio.sleep(2 * HALL.forget_after + 30.0)  # the silence between two visitors
                started_at.append(clock.loop_time())
                await visit(bench, f"VISITOR{number:05}Z")
                number += 1
                await asyncio.sleep(HALL.forget_after)
            bench.daemon.bench.assert_clean()
            forget_test_data(bench)
            model.prefills.clear()
            objects.append(len(gc.get_objects()) - len(bench.daemon.line.typing_unit.paper.lines))
        sending.cancel()
        await bench.stop()

    run_jumping(main())
    check_prompts(folder / "session.jsonl", days * visits)
    check_budget(spent)
    assert objects[-1] < objects[min(2, days - 1)] * 1.05 + 500, objects


def forget_test_data(bench: SpoolBench) -> None:
    """Drops what the simulated machine keeps of each strike."""
    gc.collect()
    bench.daemon.bench.line.written.clear()
    bench.begun.clear()
    unit = bench.daemon.line.typing_unit
    unit.strikes.clear()
    gc.collect()


def check_prompts(path: Path, visitors: int) -> None:
    """Reads the log: no prompt has a word of two visitors, and the first one of a visit is the line alone."""
    seen: list[str] = []
    private = 0
    with path.open() as file:
        for line in file:
            record: dict[str, Any] = json.loads(line)
            private += record["ev"] == "private"
            if record["ev"] != "prompt":
                continue
            names = set(re.findall(r"VISITOR(\d+)Z", record["text"].upper()))
            assert len(names) == 1, record["text"]
            [name] = names
            if name not in seen:
                assert record["text"] == sentence_case(f"I AM VISITOR{name}Z")
                assert (record["seed"], record["parameters"]["temperature"]) == (7, 0.7)
                seen.append(name)
            assert seen[-1] == name, "a visitor came back"
    assert len(seen) == visitors
    assert private or visitors < 100


def check_budget(spent: dict[str, list[tuple[float, int]]]) -> None:
    """Sums the characters of each span that begins with a line, which no span of that length exceeds."""
    assert spent
    everyone = sorted(line for lines in spent.values() for line in lines)
    for lines in (*spent.values(), everyone):
        moments = [moment for moment, _ in lines]
        for first, moment in enumerate(moments):
            for span, limit in ((HOUR, HOUR_LIMIT), (24 * HOUR, DAY_LIMIT)):
                last = bisect_left(moments, moment + span)
                assert sum(chars for _, chars in lines[first:last]) <= limit


def test_a_day_of_a_public_place(tmp_path: Path) -> None:
    check_days(tmp_path, days=1, visits=3, seed=1)


@pytest.mark.soak
def test_thirty_days_of_a_public_place(tmp_path: Path) -> None:
    check_days(tmp_path, days=30, visits=12, seed=2)
