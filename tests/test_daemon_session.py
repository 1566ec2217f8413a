"""Exchanges and turns of a session, on a simulated line with a jumping clock and a scripted model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, SimLine, TeletypeBench, run_jumping

from daemon import commands
from daemon.conversation import sentence_case
from daemon.exchange import exchange
from drivers import tape
from drivers.errors import LineLost
from drivers.profile import Profile
from drivers.virtual import Equipment
from model.errors import ModelDamaged, PromptTooLong
from model.interface import Sampling, TextChunk


def test_an_answer_is_printed_as_it_was_generated() -> None:
    async def main() -> None:
        bench, chunks = TeletypeBench(), list[TextChunk]()
        model = ScriptedModel(split_words("a machine that prints."))
        answer = await exchange(bench.tty, model, "The teletype is", Sampling(), chunks.append)
        await bench.tty.finish()
        assert answer == (" a machine that prints.", "sentence")
        assert bench.typing_unit.paper.text().strip() == "A MACHINE THAT PRINTS."
        assert [piece.text for piece in chunks] == model.words
        bench.assert_clean()

    run_jumping(main())


@pytest.mark.parametrize("seed", range(40))
def test_break_at_any_moment_stops_paper_and_model(seed: int) -> None:
    rng = random.Random(seed)
    when = rng.uniform(0, 25)

    async def main() -> None:
        bench = TeletypeBench()
        model = ScriptedModel(split_words(PROSE), pause_s=rng.choice([0.001, 0.5, 3.0]))
        asyncio.get_running_loop().call_later(when, bench.line.press_break)
        answer, finish = await exchange(bench.tty, model, "It was", Sampling(), lambda piece: None)
        assert finish == "break"
        assert model.cancelled == 1 or not answer
        assert bench.clock.now() == pytest.approx(when)
        await asyncio.sleep(2)
        assert sum(strike.start > when for strike in bench.typing_unit.strikes) <= 2
        bench.assert_clean()

    run_jumping(main())


def test_a_cancellation_from_outside_is_not_a_break() -> None:
    async def main() -> None:
        bench = TeletypeBench()
        task = asyncio.ensure_future(
            exchange(bench.tty, ScriptedModel(split_words(PROSE)), "x", Sampling(), lambda piece: None)
        )
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_jumping(main())


def test_a_conversation_continues_the_text_on_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("a machine."))
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("THE TELETYPE IS")
        await daemon.type("IT PRINTS")
        assert model.last_prompt == "The Teletype is a machine.\nIt prints"
        assert model.seed == 8
        await daemon.type(".NEW")
        await daemon.type("GO")
        assert model.last_prompt == "Go"
        await daemon.type(".BYE")
        await daemon.running
        assert daemon.paper.strip().endswith("GOODBYE.")
        assert [record["text"] for record in daemon.log_records("typed")] == [
            "THE TELETYPE IS",
            "IT PRINTS",
            ".NEW",
            "GO",
            ".BYE",
        ]
        daemon.bench.assert_clean()

    run_jumping(main())


def test_the_log_has_each_struck_byte_and_the_time_of_each_token(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("a machine.")))
        await daemon.type("THE TELETYPE IS")
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        assert [record["b"] for record in daemon.log_records("tx")] == [
            f"{byte & 0x7F:02x}" for byte in daemon.bench.line.written
        ]
        assert [record["at"] for record in daemon.log_records("tx")] == pytest.approx(
            [strike.start for strike in daemon.bench.typing_unit.strikes], abs=1e-3
        )
        assert [record["tokens"] for record in daemon.log_records("piece")] == [[0], [1]]
        daemon.running.cancel()

    run_jumping(main())


def test_the_greeting_says_what_to_do_first(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([]))
        await daemon.session.listening.wait()
        assert "\nTYPE A LINE, PRESS RETURN.\n" in daemon.paper
        assert max(map(len, daemon.paper.splitlines())) <= 72
        daemon.running.cancel()

    run_jumping(main())


def test_help_lists_the_commands_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([])
        daemon = DaemonBench(tmp_path, model)
        await daemon.type(".help")
        await daemon.type(".BYEE")
        await daemon.session.listening.wait()
        assert ".NEW        FORGET WHAT WAS SAID" in daemon.paper
        for key in ("RUBOUT", "CTRL-U", "CTRL-W", "CTRL-R", "CTRL-S", "CTRL-Q", "BREAK"):
            assert key in daemon.paper
        assert max(map(len, commands.HELP_TEXT.splitlines())) <= 72
        assert "\nNO COMMAND .BYEE: DID YOU MEAN .BYE? .HELP LISTS THEM.\n" in daemon.paper
        assert model.prompts == 0
        daemon.running.cancel()

    run_jumping(main())


def test_after_a_break_the_next_prompt_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words(PROSE))
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("IT WAS")
        await asyncio.sleep(3)
        daemon.bench.line.press_break()
        await daemon.type("AGAIN")
        await asyncio.sleep(1)
        assert model.prompts == 2
        assert model.last_prompt.startswith("It was It was the best of")
        assert model.last_prompt.endswith("\nAgain")
        assert daemon.log_records("end")[0]["finish"] == "break"
        cut = daemon.paper.split("IT WAS\n")[1].split("\nREADY")[0]
        assert cut.endswith("^C\n")
        assert PROSE.upper().startswith(cut.removesuffix("^C\n").strip().replace("\n", " "))
        daemon.running.cancel()

    run_jumping(main())


def test_the_answerback_is_asked_for_and_logged(tmp_path: Path) -> None:
    async def main() -> None:
        machine = Equipment(Profile(answerback=True, duplex="full"))
        line = SimLine(machine)
        daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), profile=machine.profile, line=line)
        await daemon.session.listening.wait()
        await line.type("HELLO\r")
        await asyncio.sleep(5)
        assert [bytes.fromhex(str(record["b"])) for record in daemon.log_records("answerback")] == [
            machine.answerback_rows
        ]
        assert daemon.paper.endswith("HELLO\nOK.\n\nREADY\n")
        line.here_is()
        await asyncio.sleep(10)
        assert len(daemon.log_records("prompt")) == 1
        daemon.running.cancel()

    run_jumping(main())


def test_a_break_while_a_line_is_typed_drops_only_the_line(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model)
        await daemon.session.listening.wait()
        daemon.bench.line.press_keys("WRONG")
        await asyncio.sleep(1)
        daemon.bench.line.press_break()
        await asyncio.sleep(3)
        await daemon.type("RIGHT")
        assert model.last_prompt == "Right"
        daemon.running.cancel()

    run_jumping(main())


@pytest.mark.parametrize("tenths", range(1, 40))
def test_a_break_at_any_moment_of_a_turn_returns_to_ready_on_a_clean_line(tmp_path: Path, tenths: int) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([" it", " is."]))
        await daemon.session.listening.wait()
        daemon.bench.line.press_keys("GO\r")
        await asyncio.sleep(tenths / 10 + 0.03)
        daemon.bench.line.press_break()
        await asyncio.sleep(5)
        daemon.bench.line.press_keys("RIGHT")
        await asyncio.sleep(1)
        assert daemon.paper.split("\n")[-2:] == ["READY", "RIGHT"]
        assert all(len(cell) <= 1 for line in daemon.bench.typing_unit.paper.lines for cell in line)
        daemon.bench.assert_clean()
        daemon.running.cancel()

    run_jumping(main())


def test_a_model_error_is_printed_and_the_next_line_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."], failure=PromptTooLong("the prompt is 99 tokens: shorten it"))
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("LONG")
        await daemon.session.listening.wait()
        assert "-- THE PROMPT IS 99 TOKENS: SHORTEN IT --" in daemon.paper
        model.failure = None
        await daemon.type("SHORT")
        assert model.last_prompt == "Short"
        daemon.running.cancel()

    run_jumping(main())


def test_a_model_that_cannot_be_loaded_cuts_the_greeting_short(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([], unready=ModelDamaged("model.onnx is damaged")))
        with pytest.raises(ModelDamaged):
            await daemon.running
        assert daemon.bench.clock.now() < 4
        assert daemon.paper.strip().startswith("ASR33 ")
        assert daemon.paper.strip().endswith("-- NO MODEL --")
        daemon.bench.assert_clean()

    run_jumping(main())


def test_the_session_waits_for_a_slow_model(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([" ok."], loading_s=60.0))
        await daemon.session.listening.wait()
        assert daemon.bench.clock.now() > 60
        daemon.running.cancel()

    run_jumping(main())


def test_a_hang_up_ends_the_daemon_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words(PROSE)))
        await daemon.type("IT WAS")
        await asyncio.sleep(2)
        daemon.bench.line.hang_up()
        with pytest.raises(LineLost):
            await daemon.running
        assert daemon.log_records("lost")

    run_jumping(main())


def test_a_full_conversation_drops_its_oldest_lines(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("one two three four five six seven."))
        daemon = DaemonBench(tmp_path, model)
        for _ in range(8):
            await daemon.type("GO ON")
        assert model.count_tokens(model.last_prompt) <= model.context * 3 // 4
        assert model.last_prompt.startswith("Go on one two")
        (forgot,) = daemon.log_records("forgot")
        assert forgot["characters"] == 3 * len("Go on one two three four five six seven.\n")
        daemon.running.cancel()

    run_jumping(main())


def last_line(paper: str) -> str:
    """Returns the last line of the sheet as an operator reads it: rubbed out characters are in backslashes."""
    line, rubbed, text = paper.rpartition("\n")[2], False, ""
    for char in line:
        if char == "\\":
            rubbed = not rubbed
        else:
            text = text[:-1] if rubbed else text + char
    return text


def test_the_model_prefills_the_line_as_it_is_on_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("FIRST")
        await daemon.session.listening.wait()
        for key in "I AM ADA\x7f\x7f_ORA, NOT ADO\x7fA\x7f\x7f\x7fI":
            before = asyncio.get_running_loop().time()
            daemon.bench.line.press_keys(key)
            await asyncio.sleep(0.4)
            when, prefill = model.prefills[-1]
            assert when == before, "the prefill came late"
            assert prefill == f"First ok.\n{sentence_case(last_line(daemon.paper))}".strip()
        assert last_line(daemon.paper) == "I AM ORA, NOT I"
        prefill = model.prefills[-1][1]
        daemon.bench.line.press_keys("\r")
        await asyncio.sleep(2)
        assert model.last_prompt == prefill == "First ok.\nI am ora, not I"
        daemon.running.cancel()

    run_jumping(main())


def test_the_model_prefills_a_line_typed_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("a machine."))
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("GO")
        model.prefills.clear()
        daemon.bench.line.press_keys("TYPED AHEAD")
        await daemon.session.listening.wait()
        await asyncio.sleep(3)
        assert last_line(daemon.paper) == "TYPED AHEAD"
        assert model.prefills[0][1] == "Go a machine."
        assert model.prefills[-1][1] == "Go a machine.\nTyped ahead"
        daemon.running.cancel()

    run_jumping(main())


def test_on_key_gets_a_restored_line_before_its_first_key() -> None:
    async def main() -> None:
        bench, prefill = TeletypeBench(), list[str]()
        reading = asyncio.create_task(bench.tty.read_line())
        bench.line.press_keys("PUT BACK")
        await asyncio.sleep(2)
        reading.cancel()
        await asyncio.wait([reading])
        again = asyncio.create_task(bench.tty.read_line(on_key=prefill.append))
        await asyncio.sleep(0)
        assert prefill == ["PUT BACK"]
        await asyncio.sleep(2)
        bench.line.press_keys("\x17ON\r")
        assert await again == "PUT ON"
        assert prefill == ["PUT BACK", "PUT ", "PUT O", "PUT ON", "PUT ON"]

    run_jumping(main())


def test_commands_are_not_prefilled(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model)
        await daemon.session.listening.wait()
        await daemon.type(".HELP")
        await daemon.session.listening.wait()
        assert {text for _, text in model.prefills} == {""}
        await daemon.type(".5 IS HALF")
        assert ".5 is half" in [text for _, text in model.prefills]
        daemon.running.cancel()

    run_jumping(main())


def test_lines_dropped_from_the_context_are_logged(tmp_path: Path) -> None:
    async def main() -> None:
        model = Forgetful(["One.", "\nTwo.", "\nThree."])
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("GO")
        await daemon.type("ON")
        assert model.last_prompt == "Two.\nThree.\nOn"
        assert daemon.log_records("forgot")[0]["characters"] == len("GoOne.\n")
        daemon.running.cancel()

    run_jumping(main())


def test_a_refused_line_drops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("FIRST")
        await daemon.session.listening.wait()
        model.failure = PromptTooLong("shorten it")
        await daemon.type("A " * 60)
        assert model.last_prompt == "A" + " a" * 59
        await daemon.session.listening.wait()
        model.failure = None
        await daemon.type("GO")
        assert model.last_prompt == "First ok.\nGo"
        daemon.running.cancel()

    run_jumping(main())


class Forgetful(ScriptedModel):
    """Its context is full before the last word of an answer; it then drops the oldest line."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        async with aclosing(super().stream(prompt, sampling)) as pieces:
            async for piece in pieces:
                yield replace(piece, dropped_chars=len("GoOne.\n") if piece.finish_reason else 0)


def test_a_half_duplex_machine_with_a_full_duplex_profile_does_not_answer_itself(tmp_path: Path) -> None:
    async def main() -> None:
        line = SimLine(Equipment(Profile(duplex="half")))
        model = ScriptedModel([" ok."])
        daemon = DaemonBench(tmp_path, model, profile=Profile(duplex="full"), line=line)
        await asyncio.sleep(60)
        struck = line.typing_unit.strike_count
        await asyncio.sleep(600)
        assert line.typing_unit.strike_count == struck
        assert [(record["what"], record["value"]) for record in daemon.log_records("learned")][-1] == ("duplex", "half")
        await line.type("HELLO\r")
        await asyncio.sleep(10)
        assert model.last_prompt == "Hello"
        assert daemon.paper.endswith("HELLO\nOK.\n\nREADY\n")
        daemon.running.cancel()

    run_jumping(main())


def test_status_is_printed_in_lines_that_fit_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([]))
        await daemon.type(".STATUS")
        await daemon.session.listening.wait()
        assert "MODEL SCRIPT ON PAPER\n" in daemon.paper
        assert "LINE MEMORY\n" in daemon.paper
        assert "COLUMN 1 OF 72, DUPLEX FULL, KEYBOARD PARITY" in daemon.paper
        assert "STRUCK " in daemon.paper
        assert "TYPED 8, BREAKS 0" in daemon.paper
        assert max(map(len, daemon.paper.splitlines())) <= 72
        daemon.running.cancel()

    run_jumping(main())


def test_a_prompt_comes_from_tape(tmp_path: Path) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_reader=True)
        rows = tape.leader(10) + tape.encode_text("THE TAPE SAYS\n") + tape.leader(10)
        line = SimLine(Equipment(profile, tape=rows))
        model = ScriptedModel(split_words("so."))
        daemon = DaemonBench(tmp_path, model, profile=profile, line=line)
        await daemon.session.listening.wait()
        await line.type(".READ\r")
        await asyncio.sleep(20)
        assert model.last_prompt == "The tape says"
        assert bytes.fromhex(str(daemon.log_records("tape")[0]["rows"])).strip(b"\0") == rows.strip(b"\0")
        assert line.typing_unit.driver_errors == []
        daemon.running.cancel()

    run_jumping(main())


def test_a_damaged_tape_is_reported_and_the_next_line_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_reader=True)
        rows = bytearray(tape.leader(5) + tape.encode_text("HELLO\n"))
        rows[7] ^= 0x80
        line = SimLine(Equipment(profile, tape=bytes(rows)))
        daemon = DaemonBench(tmp_path, ScriptedModel([]), profile=profile, line=line)
        await daemon.session.listening.wait()
        await line.type(".READ\r")
        await asyncio.sleep(30)
        assert "-- ROW 3 OF THE TAPE" in daemon.paper
        assert daemon.paper.endswith("READY\n")
        daemon.running.cancel()

    run_jumping(main())
