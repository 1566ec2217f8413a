"""The daemon with a remote model: configuration, notices on the paper, and commands with a URL."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_openai_server import FakeModelServer, full_reply, raises_model_error, send_bytes, stream_text
from fakes_teletype import TeletypeBench, on_jumping_loop

from daemon import model_factory
from daemon.config import Config, ModelConfig, load_config
from daemon.errors import ConfigError
from daemon.exchange import exchange
from model.interface import CompletionRequest, Notice, Sampling, TextChunk

ROOT = Path(__file__).resolve().parents[1]
TEXT = " sun rose over the harbour. Gulls cried.\nNobody was there."
TEMPLATE = CompletionRequest("", Sampling())


@dataclass
class ModelWithNotice(ScriptedModel):
    """Sends a notice after the third word, and pauses."""

    notice: Notice = "local"

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        at = 0
        async for chunk in super().stream(prompt, sampling):
            yield chunk
            at += 1
            if at == 3:
                yield TextChunk("", (), 0.0, notice=self.notice)
                await asyncio.sleep(20)


@pytest.mark.parametrize(("notice", "words"), [("local", "-- LOCAL --"), ("no server", "-- NO SERVER --")])
@on_jumping_loop
async def test_a_notice_has_its_own_line_and_the_sentence_continues(notice: Notice, words: str) -> None:
    bench = TeletypeBench()
    model = ModelWithNotice(split_words("the bell rang twice and stopped."), notice=notice)
    text, finish = await exchange(bench.tty, model, "Then", Sampling(), lambda chunk: None)
    await bench.tty.finish()
    assert (text, finish) == (" the bell rang twice and stopped.", "sentence")
    lines = [line for line in bench.typing_unit.paper.text().splitlines() if line.strip()]
    assert lines == ["THE BELL RANG", words, "TWICE AND STOPPED."]
    bench.assert_clean()


@on_jumping_loop
async def test_a_word_cut_by_a_notice_continues_below_it() -> None:
    bench = TeletypeBench()
    model = ModelWithNotice([" the", " bell", " ra", "ng", " twice."])
    text, _ = await exchange(bench.tty, model, "Then", Sampling(), lambda chunk: None)
    await bench.tty.finish()
    assert text == " the bell rang twice."
    assert bench.typing_unit.paper.text().strip().splitlines() == ["THE BELL RA", "-- LOCAL --", "NG TWICE."]


@on_jumping_loop
async def test_the_notice_is_printed_before_the_silence(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ModelWithNotice(split_words("the bell rang twice."), notice="no server"))
    await daemon.type("THEN")
    await asyncio.sleep(10)
    assert daemon.paper.rstrip().endswith("-- NO SERVER --")
    await daemon.session.listening.wait()
    assert [record["notice"] for record in daemon.log_records("piece") if "notice" in record] == ["no server"]
    daemon.running.cancel()
    await asyncio.wait({daemon.running})


@on_jumping_loop
async def test_break_ends_a_wait_for_a_server(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ModelWithNotice(split_words("the bell rang twice."), notice="no server"))
    await daemon.type("THEN")
    await asyncio.sleep(10)
    daemon.line.press_break()
    async with asyncio.timeout(3):
        await daemon.session.listening.wait()
    daemon.running.cancel()
    await asyncio.wait({daemon.running})


def test_the_servers_are_configured(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[model]\nname = "http://gpu:8033#gpt2"\notherwise = ["https://second:8033", "embedded"]\n'
        'key_file = "/etc/asr33/key"\nca_file = "/etc/asr33/ca.pem"\nallow_plain = true\nfirst_token_s = 60\n'
    )
    config = load_config({}, {}, config_file=tmp_path / "config.toml", system_folder=tmp_path).model
    assert config == ModelConfig(
        "http://gpu:8033#gpt2",
        otherwise=("https://second:8033", "embedded"),
        key_file=Path("/etc/asr33/key"),
        ca_file=Path("/etc/asr33/ca.pem"),
        allow_plain=True,
        first_token_s=60.0,
    )
    from_environment = load_config({}, {"ASR33_MODEL_OTHERWISE": "http://a http://b"}, system_folder=tmp_path).model
    assert from_environment.otherwise == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('otherwise = "embedded"', "is not a list of texts"),
        ("otherwise = [5]", "is not a list of texts"),
        ("first_token_s = 0", "must be from 1 to"),
        ("key_flie = 5", "did you mean 'key_file'"),
    ],
)
def test_an_invalid_setting_is_named(tmp_path: Path, setting: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(f"[model]\n{setting}\n")
    with pytest.raises(ConfigError, match=rf"c\.toml:2: .*{message}"):
        load_config({}, {}, config_file=tmp_path / "c.toml", system_folder=tmp_path)


def test_an_impossible_configuration_is_reported_before_printing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tiny' is a local model: give only one, and as the last"):
        model_factory.open_remote_model(ModelConfig("http://a", otherwise=("tiny", "http://b")), TEMPLATE)
    with raises_model_error("argument", match="not the URL of a model server"):
        model_factory.open_model(Config(model=ModelConfig("ftp://a")))
    with raises_model_error("denied", match="No such file"):
        model_factory.open_model(Config(model=ModelConfig("http://a", key_file=tmp_path / "none")))


async def test_a_server_gets_the_type_wheel_and_the_speed() -> None:
    async with FakeModelServer([stream_text(TEXT, "The")], is_asr33=True) as server:
        for character_s, pace in ((0.1, 10.0), (0.0, 0.0)):
            model = model_factory.open_model(Config(model=ModelConfig(server.url)), character_s)
            assert [chunk async for chunk in model.stream("The", Sampling())]
            extension = server.posts[-1].body["asr33"]
            assert (extension["alphabet"], extension["pace"]) == ("1968", pace)
            assert extension["conversation"]
            await model.close()


async def command(*arguments: str, folder: Path, home: str = "") -> tuple[int, str, str]:
    environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / home)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.main", *arguments, cwd=ROOT, env=environ, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_ask_and_demo_take_a_url(tmp_path: Path) -> None:
    async with FakeModelServer([stream_text(TEXT, "The", cut_at=300), stream_text(TEXT, "The")]) as server:
        assert await command("ask", "The", "--model", server.url, folder=tmp_path) == (0, f"{TEXT}\n", "")
        demo = ["demo", "--fast", "--prompt", "The", "--model", server.url, "--log", str(tmp_path)]
        status, out, _ = await command(*demo, folder=tmp_path)
        assert status == 0
        assert "THE\nSUN ROSE OVER THE HARBOUR. GULLS CRIED.\nNOBODY WAS THERE." in out.replace("\r", "")


async def test_ask_reports_an_error_in_one_line(tmp_path: Path) -> None:
    async with FakeModelServer([send_bytes(full_reply(401, b""))]) as server:
        status, out, err = await command("ask", "The", "--model", server.url, folder=tmp_path)
        assert (status, out) == (77, "")
        assert err == f"asr33: {server.url}: a key is needed: name its file, [model] key_file or ASR33_MODEL_KEY_FILE\n"
    status, _, err = await command("ask", "The", "--model", server.url, folder=tmp_path)
    assert (status, err.count("\n")) == (69, 1)
    assert "no answer" in err


def test_a_remote_model_needs_no_numpy() -> None:
    program = (
        "import sys\nfor name in ('numpy', 'onnxruntime', 'tokenizers', 'rich'): sys.modules[name] = None\n"
        "import tools.run\nfrom daemon import config, model_factory\n"
        "model = model_factory.open_model(config.Config(model=config.ModelConfig('http://127.0.0.1:1')))\n"
        "import asyncio, logging\n"
        "async def main():\n"
        "    await model.wait_ready()\n    model.prefill('The old tele')\n    model.count_tokens('x')\n"
        "    await model.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "asks again until one does" in done.stderr
