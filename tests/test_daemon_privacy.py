"""What is struck between .PRIVATE and .PUBLIC, or typed in a public place, is in no file and no context."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import run_jumping

from daemon.privacy import Privacy
from daemon.session_log import SessionLog


@pytest.fixture(autouse=True)
def restore_core_limit() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    yield
    resource.setrlimit(resource.RLIMIT_CORE, limits)


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def struck_text(records: list[dict[str, Any]]) -> str:
    return "".join(chr(int(record["b"], 16)) for record in records if record["ev"] == "tx").replace("\r", "")


def pressed_text(records: list[dict[str, Any]]) -> str:
    return "".join(chr(int(record["b"], 16) & 0x7F) for record in records if record["ev"] == "rx")


def test_a_private_time_leaves_its_length_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("an answer."))
        daemon = DaemonBench(tmp_path, model, privacy=Privacy(tmp_path / "state"))
        seen: list[object] = []
        await daemon.type("FIRST")
        await daemon.type(".PRIVATE")
        await daemon.session.listening.wait()
        watch = daemon.session.privacy.hide_from(seen.append)
        watch("hidden")
        await daemon.type("SECRET")
        await daemon.session.listening.wait()
        assert model.last_prompt == "First an answer.\nSecret"
        began, daemon_paper = daemon.bench.clock.now(), daemon.paper
        await daemon.type(".PUBLIC")
        await daemon.session.listening.wait()
        watch("seen")
        await daemon.type("LAST")
        await daemon.session.listening.wait()
        assert model.last_prompt == "First an answer.\nLast"
        assert seen == ["seen"]
        assert "SECRET\nAN ANSWER." in daemon_paper
        records = read_records(daemon.log.path)
        assert [record["text"] for record in records if record["ev"] == "typed"] == ["FIRST", ".PRIVATE", "LAST"]
        struck = struck_text(records)
        assert ".PRIVATE\n\nREADY\n" not in struck
        assert ".PRIVATE\nPUBLIC: THE LINES ARE LOGGED AGAIN.\n\nREADY\nLAST\n" in struck
        assert "SECRET" not in pressed_text(records)
        on, gap, off = (record for record in records if record["ev"] in ("private", "gap"))
        assert (on["on"], off["on"], gap["why"], gap["from"], gap["to"]) == (True, False, "private", on["t"], off["t"])
        assert gap["lost"] > 40
        assert gap["to"] - gap["from"] > began - on["t"]
        between = records[records.index(on) + 1 : records.index(off)]
        assert between == [gap]
        codes = [record["code"] for record in records if record["ev"] == "prompt"]
        assert len(set(codes)) == 2
        await daemon.type(".STATUS")
        await daemon.session.listening.wait()
        assert f"\nLAST ANSWER {codes[-1]}\n" in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


def test_a_private_time_survives_a_restart_and_status_says_so(tmp_path: Path) -> None:
    async def first() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), privacy=Privacy(tmp_path / "state"))
        await daemon.type(".PRIVATE")
        await daemon.session.listening.wait()
        assert "PRIVATE: ON THE PAPER ONLY, UNTIL .PUBLIC" in daemon.paper
        daemon.running.cancel()

    async def second() -> None:
        privacy = Privacy(tmp_path / "state")
        assert privacy.is_on
        (tmp_path / "2").mkdir()
        daemon = DaemonBench(tmp_path / "2", ScriptedModel([" ok."]), privacy=privacy)
        await daemon.type(".STATUS")
        await daemon.session.listening.wait()
        assert daemon.paper.count("PRIVATE: ON THE PAPER ONLY, UNTIL .PUBLIC") == 2
        await daemon.type(".PUBLIC")
        await daemon.type(".STATUS")
        await daemon.session.listening.wait()
        assert daemon.paper.count("PRIVATE: ON THE PAPER ONLY, UNTIL .PUBLIC") == 2
        assert not Privacy(tmp_path / "state").is_on
        daemon.running.cancel()

    run_jumping(first())
    run_jumping(second())


def test_a_state_that_cannot_be_noted_is_told_on_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").touch()
        daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), privacy=Privacy(tmp_path / "file" / "state"))
        await daemon.type(".PRIVATE")
        await daemon.session.listening.wait()
        assert "A RESTART ENDS IT TOO" in daemon.paper
        assert daemon.session.privacy.is_on
        daemon.running.cancel()

    run_jumping(main())


def test_new_forgets_what_was_said_before_the_private_time_too(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model)
        for line in ("FIRST", ".PRIVATE", ".NEW", ".PUBLIC", "LAST"):
            await daemon.type(line)
        await daemon.session.listening.wait()
        assert model.last_prompt == "Last"
        daemon.running.cancel()

    run_jumping(main())


def test_a_private_session_that_ends_has_its_gap_before_its_close(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", 0.0)
    log.switch_private(1.0, True)
    log.write(2.0, "typed", text="SECRET")
    log.write(3.0, "motor", on=True)
    log.write_close(9.0)
    log.close()
    assert [list(record.values()) for record in read_records(log.path)] == [
        [1.0, "private", True],
        [3.0, "motor", True],
        [9.0, "gap", 1.0, 9.0, 1, "private"],
        [9.0, "close"],
    ]


def test_a_private_session_leaves_no_image_of_its_memory(tmp_path: Path) -> None:
    Privacy(tmp_path / "state").switch_on()
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] <= 1


def test_a_log_without_input_has_the_answers_alone(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("an answer.")), keeps_input=False)
        await daemon.type("FIRST SECRET")
        await daemon.session.listening.wait()
        await daemon.type("SECOND SECRET")
        await daemon.session.listening.wait()
        text = daemon.log.path.read_text()
        records = read_records(daemon.log.path)
        assert "ecret" not in text.replace("SECRET", "ecret")
        assert not {record["ev"] for record in records} & {"rx", "typed"}
        assert [record["text"] for record in records if record["ev"] == "prompt"] == ["", ""]
        struck = struck_text(records)
        assert struck.count("AN ANSWER.") == 2
        assert "READY\nAN ANSWER." in struck
        assert "SECRET" in daemon.paper
        daemon.running.cancel()

    run_jumping(main())
