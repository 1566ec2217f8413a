"""The daemon with a model that is elsewhere: settings, what stands on the paper, and commands that name a URL."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import TeletypeBench, run_jumping
from fakes_daemon import Daemon, ScriptedModel, words_of
from fakes_http import FakeModelServer, full_reply, send_bytes, stream_cut_at, stream_text

from daemon import build, remote_model
from daemon.config import Config, ModelConfig, load_config
from daemon.errors import ConfigError
from daemon.exchange import exchange
from model.errors import AddressWrong, KeyRefused
from model.interface import CompletionRequest, Notice, Sampling, TextChunk

ROOT = Path(__file__).resolve().parents[1]
TEXT = " sun rose over the harbour. Gulls cried.\nNobody was there."
ABOUT = CompletionRequest("", Sampling())


@dataclass
class Noticing(ScriptedModel):
    """Breaks off behind the third word, and says so."""

    notice: Notice = "local"

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        at = 0
        async for piece in super().stream(prompt, sampling):
            yield piece
            at += 1
            if at == 3:
                yield TextChunk("", (), 0.0, notice=self.notice)
                await asyncio.sleep(20)


@pytest.mark.parametrize(("notice", "words"), [("local", "-- LOCAL --"), ("no server", "-- NO SERVER --")])
def test_who_answers_now_stands_on_a_line_of_its_own_and_the_sentence_goes_on(notice: Notice, words: str) -> None:
    async def main() -> None:
        bench = TeletypeBench()
        model = Noticing(words_of("the bell rang twice and stopped."), notice=notice)
        said, finish = await exchange(bench.tty, model, "Then", Sampling(), lambda piece: None)
        await bench.tty.finish()
        assert (said, finish) == (" the bell rang twice and stopped.", "sentence")
        lines = [line for line in bench.typing_unit.paper.text().splitlines() if line.strip()]
        assert lines == ["THE BELL RANG", words, "TWICE AND STOPPED."]
        bench.assert_clean()

    run_jumping(main())


def test_a_word_that_was_cut_in_two_goes_on_below_the_notice() -> None:
    async def main() -> None:
        bench = TeletypeBench()
        model = Noticing([" the", " bell", " ra", "ng", " twice."])
        said, _ = await exchange(bench.tty, model, "Then", Sampling(), lambda piece: None)
        await bench.tty.finish()
        assert said == " the bell rang twice."
        assert bench.typing_unit.paper.text().strip().splitlines() == ["THE BELL RA", "-- LOCAL --", "NG TWICE."]

    run_jumping(main())


def test_the_notice_is_on_the_paper_before_the_silence(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, Noticing(words_of("the bell rang twice."), notice="no server"))
        await daemon.type("THEN")
        await asyncio.sleep(10)
        assert daemon.paper.rstrip().endswith("-- NO SERVER --")
        await daemon.app.listening.wait()
        assert [record["notice"] for record in daemon.logged("piece") if "notice" in record] == ["no server"]
        daemon.running.cancel()
        await asyncio.wait({daemon.running})

    run_jumping(main())


def test_break_ends_a_wait_for_a_server(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, Noticing(words_of("the bell rang twice."), notice="no server"))
        await daemon.type("THEN")
        await asyncio.sleep(10)
        daemon.line.press_break()
        async with asyncio.timeout(3):
            await daemon.app.listening.wait()
        daemon.running.cancel()
        await asyncio.wait({daemon.running})

    run_jumping(main())


def test_the_servers_stand_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[model]\nname = "http://gpu:8033#gpt2"\notherwise = ["https://second:8033", "embedded"]\n'
        'key_file = "/etc/asr33/key"\nca_file = "/etc/asr33/ca.pem"\nallow_plain = true\nfirst_token_s = 60\n'
    )
    found = load_config({}, {}, config_file=tmp_path / "config.toml", system_folder=tmp_path).model
    assert found == ModelConfig(
        "http://gpu:8033#gpt2",
        otherwise=("https://second:8033", "embedded"),
        key_file=Path("/etc/asr33/key"),
        ca_file=Path("/etc/asr33/ca.pem"),
        allow_plain=True,
        first_token_s=60.0,
    )
    listed = load_config({}, {"ASR33_MODEL_OTHERWISE": "http://a http://b"}, system_folder=tmp_path).model
    assert listed.otherwise == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ('otherwise = "embedded"', "is not a list of texts"),
        ("otherwise = [5]", "is not a list of texts"),
        ("first_token_s = 0", "must be from 1 to"),
        ("key_flie = 5", "did you mean 'key_file'"),
    ],
)
def test_what_is_wrong_in_the_settings_is_named(tmp_path: Path, setting: str, why: str) -> None:
    (tmp_path / "c.toml").write_text(f"[model]\n{setting}\n")
    with pytest.raises(ConfigError, match=rf"c\.toml:2: .*{why}"):
        load_config({}, {}, config_file=tmp_path / "c.toml", system_folder=tmp_path)


def test_what_cannot_be_asked_is_said_before_anything_is_printed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tiny' is a model of this machine: one, and the last"):
        remote_model.open_remote_model(ModelConfig("http://a", otherwise=("tiny", "http://b")), ABOUT)
    with pytest.raises(AddressWrong, match="not the URL of a model server"):
        build.open_model(Config(model=ModelConfig("ftp://a")))
    with pytest.raises(KeyRefused, match="No such file"):
        build.open_model(Config(model=ModelConfig("http://a", key_file=tmp_path / "none")))


async def test_a_server_is_told_of_the_wheel_and_its_pace() -> None:
    async with FakeModelServer([stream_text(TEXT, "The")], is_asr33=True) as end:
        for character_s, pace in ((0.1, 10.0), (0.0, 0.0)):
            model = build.open_model(Config(model=ModelConfig(end.url)), character_s)
            assert [piece async for piece in model.stream("The", Sampling())]
            asked = end.posts[-1].body["asr33"]
            assert (asked["alphabet"], asked["pace"]) == ("1968", pace)
            assert asked["conversation"]
            await model.close()


async def command(*arguments: str, folder: Path, home: str = "") -> tuple[int, str, str]:
    environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / home)}
    work = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.main", *arguments, cwd=ROOT, env=environ, stdout=-1, stderr=-1
    )
    out, err = await work.communicate()
    assert work.returncode is not None
    return work.returncode, out.decode(), err.decode()


async def test_ask_and_demo_take_a_url(tmp_path: Path) -> None:
    async with FakeModelServer([stream_cut_at(TEXT, "The", at=300), stream_text(TEXT, "The")]) as end:
        assert await command("ask", "The", "--model", end.url, folder=tmp_path) == (0, f"{TEXT}\n", "")
        demo = ["demo", "--fast", "--prompt", "The", "--model", end.url, "--log", str(tmp_path)]
        status, out, _ = await command(*demo, folder=tmp_path)
        assert status == 0
        assert "THE\nSUN ROSE OVER THE HARBOUR. GULLS CRIED.\nNOBODY WAS THERE." in out.replace("\r", "")


async def test_ask_says_in_a_line_what_is_wrong(tmp_path: Path) -> None:
    async with FakeModelServer([send_bytes(full_reply(401, b""))]) as end:
        status, out, err = await command("ask", "The", "--model", end.url, folder=tmp_path)
        assert (status, out) == (77, "")
        assert err == f"asr33: {end.url}: it wants a key: name its key_file\n"
    status, _, err = await command("ask", "The", "--model", end.url, folder=tmp_path)
    assert (status, err.count("\n")) == (69, 1)
    assert "no answer" in err


def test_a_model_elsewhere_needs_no_numpy_here() -> None:
    program = (
        "import sys\nfor name in ('numpy', 'onnxruntime', 'tokenizers', 'rich'): sys.modules[name] = None\n"
        "import tools.run\nfrom daemon import app, config\n"
        "model = app.open_model(config.Config(model=config.ModelConfig('http://127.0.0.1:1')))\n"
        "import asyncio, logging\n"
        "async def main():\n"
        "    await model.ready()\n    model.listen('The old tele')\n    model.count('x')\n    await model.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "they are asked again" in done.stderr
