"""An exchange and the daemon's turns, on a line in memory and a clock that jumps; the model is a script."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import PROSE, SimLine, TeletypeBench, run_jumping
from fakes_daemon import Daemon, ScriptedModel, words_of

from daemon.conversation import sentence_case
from daemon.exchange import exchange
from drivers.errors import LineLost
from drivers.profile import Profile
from drivers.tape import tape
from drivers.virtual import Equipment
from model.errors import ModelDamaged, PromptTooLong
from model.interface import Sampling, TextChunk


def test_an_answer_stands_on_the_paper_as_it_was_said() -> None:
    async def main() -> None:
        bench, noted = TeletypeBench(), list[TextChunk]()
        model = ScriptedModel(words_of("a machine that prints."))
        said = await exchange(bench.tty, model, "The teletype is", Sampling(), noted.append)
        await bench.tty.finish()
        assert said == (" a machine that prints.", "sentence")
        assert bench.typing_unit.paper.text().strip() == "A MACHINE THAT PRINTS."
        assert [piece.text for piece in noted] == model.words
        bench.assert_clean()

    run_jumping(main())


@pytest.mark.parametrize("seed", range(40))
def test_break_at_any_moment_stops_paper_and_model(seed: int) -> None:
    rng = random.Random(seed)
    when = rng.uniform(0, 25)

    async def main() -> None:
        bench = TeletypeBench()
        model = ScriptedModel(words_of(PROSE), pause_s=rng.choice([0.001, 0.5, 3.0]))
        asyncio.get_running_loop().call_later(when, bench.line.press_break)
        said, finish = await exchange(bench.tty, model, "It was", Sampling(), lambda piece: None)
        assert finish == "break"
        assert model.cut == 1 or not said
        assert bench.clock.now() == pytest.approx(when)
        await asyncio.sleep(2)
        assert sum(strike.start > when for strike in bench.typing_unit.strikes) <= 2
        bench.assert_clean()

    run_jumping(main())


def test_an_outer_cancellation_is_no_break() -> None:
    async def main() -> None:
        bench = TeletypeBench()
        task = asyncio.ensure_future(
            exchange(bench.tty, ScriptedModel(words_of(PROSE)), "x", Sampling(), lambda piece: None)
        )
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_jumping(main())


def test_a_conversation_goes_on_from_what_stands_on_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(words_of("a machine."))
        daemon = Daemon(tmp_path, model)
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
        assert [record["text"] for record in daemon.logged("typed")] == [
            "THE TELETYPE IS",
            "IT PRINTS",
            ".NEW",
            "GO",
            ".BYE",
        ]
        daemon.bench.assert_clean()

    run_jumping(main())


def test_the_log_has_each_byte_that_was_struck_and_when_each_token_existed(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel(words_of("a machine.")))
        await daemon.type("THE TELETYPE IS")
        await daemon.app.listening.wait()
        await daemon.tty.finish()
        assert [record["b"] for record in daemon.logged("tx")] == [
            f"{byte & 0x7F:02x}" for byte in daemon.bench.line.wire
        ]
        assert [record["at"] for record in daemon.logged("tx")] == pytest.approx(
            [strike.start for strike in daemon.bench.typing_unit.strikes], abs=1e-3
        )
        assert [record["tokens"] for record in daemon.logged("piece")] == [[0], [1]]
        daemon.running.cancel()

    run_jumping(main())


def test_help_tells_the_commands_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([])
        daemon = Daemon(tmp_path, model)
        await daemon.type(".help")
        await daemon.type(".BYEE")
        await daemon.app.listening.wait()
        assert ".NEW     FORGET WHAT WAS SAID" in daemon.paper
        assert "NO COMMAND .BYEE; THERE ARE .HELP .NEW .READ .STATUS .BYE" in daemon.paper
        assert model.prompts == 0
        daemon.running.cancel()

    run_jumping(main())


def test_after_a_break_the_next_prompt_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(words_of(PROSE))
        daemon = Daemon(tmp_path, model)
        await daemon.type("IT WAS")
        await asyncio.sleep(3)
        daemon.bench.line.press_break()
        await daemon.type("AGAIN")
        await asyncio.sleep(1)
        assert model.prompts == 2
        assert model.last_prompt.startswith("It was It was the best of")
        assert model.last_prompt.endswith("\nAgain")
        assert daemon.logged("end")[0]["finish"] == "break"
        cut = daemon.paper.split("IT WAS\n")[1].split("\nREADY")[0]
        assert cut.endswith("^C\n")
        assert PROSE.upper().startswith(cut.removesuffix("^C\n").strip().replace("\n", " "))
        daemon.running.cancel()

    run_jumping(main())


def test_the_machine_is_asked_who_it_is_and_the_log_has_its_answer(tmp_path: Path) -> None:
    async def main() -> None:
        machine = Equipment(Profile(answerback=True, duplex="full"))
        line = SimLine(machine)
        daemon = Daemon(tmp_path, ScriptedModel([" ok."]), profile=machine.profile, line=line)
        await daemon.app.listening.wait()
        await line.type("HELLO\r")
        await asyncio.sleep(5)
        assert [bytes.fromhex(str(record["b"])) for record in daemon.logged("answerback")] == [machine.answerback_rows]
        assert daemon.paper.endswith("HELLO\nOK.\n\nREADY\n")
        line.here_is()
        await asyncio.sleep(10)
        assert len(daemon.logged("prompt")) == 1
        daemon.running.cancel()

    run_jumping(main())


def test_a_break_while_a_line_is_typed_drops_the_line_alone(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = Daemon(tmp_path, model)
        await daemon.app.listening.wait()
        daemon.bench.line.press_keys("WRONG")
        await asyncio.sleep(1)
        daemon.bench.line.press_break()
        await asyncio.sleep(3)
        await daemon.type("RIGHT")
        assert model.last_prompt == "Right"
        daemon.running.cancel()

    run_jumping(main())


@pytest.mark.parametrize("tenths", range(1, 40))
def test_a_break_at_any_moment_of_a_turn_comes_back_to_ready_on_a_clean_line(tmp_path: Path, tenths: int) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel([" it", " is."]))
        await daemon.app.listening.wait()
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


def test_what_the_model_refuses_is_told_on_paper_and_the_next_line_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."], failure=PromptTooLong("the prompt is 99 tokens: shorten it"))
        daemon = Daemon(tmp_path, model)
        await daemon.type("LONG")
        await daemon.app.listening.wait()
        assert "-- THE PROMPT IS 99 TOKENS: SHORTEN IT --" in daemon.paper
        model.failure = None
        await daemon.type("SHORT")
        assert model.last_prompt == "Short"
        daemon.running.cancel()

    run_jumping(main())


def test_a_model_that_cannot_be_loaded_cuts_the_greeting_short(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel([], unready=ModelDamaged("model.onnx is damaged")))
        with pytest.raises(ModelDamaged):
            await daemon.running
        assert daemon.bench.clock.now() < 4
        assert daemon.paper.strip().startswith("ASR33 ")
        assert daemon.paper.strip().endswith("-- NO MODEL --")
        daemon.bench.assert_clean()

    run_jumping(main())


def test_a_model_that_loads_for_long_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel([" ok."], loading_s=60.0))
        await daemon.app.listening.wait()
        assert daemon.bench.clock.now() > 60
        daemon.running.cancel()

    run_jumping(main())


def test_a_hang_up_ends_the_daemon_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel(words_of(PROSE)))
        await daemon.type("IT WAS")
        await asyncio.sleep(2)
        daemon.bench.line.hang_up()
        with pytest.raises(LineLost):
            await daemon.running
        assert daemon.logged("lost")

    run_jumping(main())


def test_a_full_conversation_gives_up_its_oldest_lines(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(words_of("one two three four five six seven."))
        daemon = Daemon(tmp_path, model)
        for _ in range(8):
            await daemon.type("GO ON")
        assert model.count_tokens(model.last_prompt) <= model.context * 3 // 4
        assert model.last_prompt.startswith("Go on one two")
        (forgot,) = daemon.logged("forgot")
        assert forgot["characters"] == 3 * len("Go on one two three four five six seven.\n")
        daemon.running.cancel()

    run_jumping(main())


def standing(paper: str) -> str:
    """What an operator reads in the last line of a sheet: what was rubbed out stands there once more in backslashes."""
    line, rubbed, text = paper.rpartition("\n")[2], False, ""
    for char in line:
        if char == "\\":
            rubbed = not rubbed
        else:
            text = text[:-1] if rubbed else text + char
    return text


def test_the_model_reads_along_with_what_stands_on_the_paper(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = Daemon(tmp_path, model)
        await daemon.type("FIRST")
        await daemon.app.listening.wait()
        for key in "I AM ADA\x7f\x7f_ORA, NOT ADO\x7fA\x7f\x7f\x7fI":
            before = asyncio.get_running_loop().time()
            daemon.bench.line.press_keys(key)
            await asyncio.sleep(0.4)
            when, heard = model.heard[-1]
            assert when == before, "it was told late"
            assert heard == f"First ok.\n{sentence_case(standing(daemon.paper))}".strip()
        assert standing(daemon.paper) == "I AM ORA, NOT I"
        heard = model.heard[-1][1]
        daemon.bench.line.press_keys("\r")
        await asyncio.sleep(2)
        assert model.last_prompt == heard == "First ok.\nI am ora, not I"
        daemon.running.cancel()

    run_jumping(main())


def test_the_model_hears_what_was_typed_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(words_of("a machine."))
        daemon = Daemon(tmp_path, model)
        await daemon.type("GO")
        model.heard.clear()
        daemon.bench.line.press_keys("TYPED AHEAD")
        await daemon.app.listening.wait()
        await asyncio.sleep(3)
        assert standing(daemon.paper) == "TYPED AHEAD"
        assert model.heard[0][1] == "Go a machine."
        assert model.heard[-1][1] == "Go a machine.\nTyped ahead"
        daemon.running.cancel()

    run_jumping(main())


def test_who_listens_hears_a_line_that_was_put_back_before_its_first_key() -> None:
    async def main() -> None:
        bench, heard = TeletypeBench(), list[str]()
        reading = asyncio.create_task(bench.tty.read_line())
        bench.line.press_keys("PUT BACK")
        await asyncio.sleep(2)
        reading.cancel()
        await asyncio.wait([reading])
        again = asyncio.create_task(bench.tty.read_line(on_key=heard.append))
        await asyncio.sleep(0)
        assert heard == ["PUT BACK"]
        await asyncio.sleep(2)
        bench.line.press_keys("\x17ON\r")
        assert await again == "PUT ON"
        assert heard == ["PUT BACK", "PUT ", "PUT O", "PUT ON", "PUT ON"]

    run_jumping(main())


def test_commands_are_not_for_the_model(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = Daemon(tmp_path, model)
        await daemon.app.listening.wait()
        await daemon.type(".HELP")
        await daemon.app.listening.wait()
        assert {text for _, text in model.heard} == {""}
        await daemon.type(".5 IS HALF")
        assert ".5 is half" in [text for _, text in model.heard]
        daemon.running.cancel()

    run_jumping(main())


def test_what_the_context_has_no_room_for_is_forgotten_and_the_log_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        model = Forgetful(["One.", "\nTwo.", "\nThree."])
        daemon = Daemon(tmp_path, model)
        await daemon.type("GO")
        await daemon.type("ON")
        assert model.last_prompt == "Two.\nThree.\nOn"
        assert daemon.logged("forgot")[0]["characters"] == len("GoOne.\n")
        daemon.running.cancel()

    run_jumping(main())


def test_for_a_line_that_is_refused_nothing_is_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel([" ok."])
        daemon = Daemon(tmp_path, model)
        await daemon.type("FIRST")
        await daemon.app.listening.wait()
        model.failure = PromptTooLong("shorten it")
        await daemon.type("A " * 60)
        assert model.last_prompt == "A" + " a" * 59
        await daemon.app.listening.wait()
        model.failure = None
        await daemon.type("GO")
        assert model.last_prompt == "First ok.\nGo"
        daemon.running.cancel()

    run_jumping(main())


class Forgetful(ScriptedModel):
    """Its context is full before the last word of an answer; then the oldest line goes."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        async with aclosing(super().stream(prompt, sampling)) as pieces:
            async for piece in pieces:
                yield replace(piece, dropped_chars=len("GoOne.\n") if piece.finish_reason else 0)


def test_a_machine_that_prints_its_own_keys_and_is_said_not_to_does_not_talk_to_itself(tmp_path: Path) -> None:
    async def main() -> None:
        line = SimLine(Equipment(Profile(duplex="half")))
        model = ScriptedModel([" ok."])
        daemon = Daemon(tmp_path, model, profile=Profile(duplex="full"), line=line)
        await asyncio.sleep(60)
        struck = line.typing_unit.strike_count
        await asyncio.sleep(600)
        assert line.typing_unit.strike_count == struck
        assert [(one["what"], one["value"]) for one in daemon.logged("learned")][-1] == ("duplex", "half")
        await line.type("HELLO\r")
        await asyncio.sleep(10)
        assert model.last_prompt == "Hello"
        assert daemon.paper.endswith("HELLO\nOK.\n\nREADY\n")
        daemon.running.cancel()

    run_jumping(main())


def test_status_is_told_on_paper_in_lines_that_fit(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel([]))
        await daemon.type(".STATUS")
        await daemon.app.listening.wait()
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
        model = ScriptedModel(words_of("so."))
        daemon = Daemon(tmp_path, model, profile=profile, line=line)
        await daemon.app.listening.wait()
        await line.type(".READ\r")
        await asyncio.sleep(20)
        assert model.last_prompt == "The tape says"
        assert bytes.fromhex(str(daemon.logged("tape")[0]["rows"])).strip(b"\0") == rows.strip(b"\0")
        assert line.typing_unit.faults == []
        daemon.running.cancel()

    run_jumping(main())


def test_a_torn_tape_is_told_of_and_the_next_line_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_reader=True)
        rows = bytearray(tape.leader(5) + tape.encode_text("HELLO\n"))
        rows[7] ^= 0x80
        line = SimLine(Equipment(profile, tape=bytes(rows)))
        daemon = Daemon(tmp_path, ScriptedModel([]), profile=profile, line=line)
        await daemon.app.listening.wait()
        await line.type(".READ\r")
        await asyncio.sleep(30)
        assert "-- ROW 3 OF THE TAPE" in daemon.paper
        assert daemon.paper.endswith("READY\n")
        daemon.running.cancel()

    run_jumping(main())
