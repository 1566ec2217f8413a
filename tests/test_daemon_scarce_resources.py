"""A computer with too little memory, too few threads, or libraries that do not load: one line, one exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for
from fakes_teletype import run_jumping

from model.engine_errors import engine_error_for, engine_errors
from model.errors import EngineFailed, ModelDamaged
from model.generate.local_model import LocalEngine, LocalModel
from model.interface import Sampling
from model.store import store
from tools.main import main

# Limits of processes do not bind root; the capabilities let another user read this checkout.
RIGHTS = "+dac_override,+dac_read_search"
AS_ANOTHER_USER = [
    "setpriv",
    "--reuid=54321",
    "--clear-groups",
    f"--inh-caps={RIGHTS}",
    f"--ambient-caps={RIGHTS}",
    "--",
]
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="to be another user takes root and setpriv"
)
WORDS_ON_PAPER = "\n-- NO MODEL --\nTHIS COMPUTER HAS TOO LITTLE MEMORY OR TOO FEW THREADS FOR IT.\n"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def limit_memory(mib: int) -> list[str]:
    return ["prlimit", f"--as={mib << 20}", "--"]


def limit_processes(count: int) -> list[str]:
    return [*AS_ANOTHER_USER, "prlimit", f"--nproc={count}", "--"]


@pytest.mark.parametrize(
    "limit",
    [
        *(pytest.param(limit_memory(mib), id=f"{mib} MiB") for mib in (64, 100, 150, 200, 250, 280, 300, 310)),
        *(pytest.param(limit_processes(count), id=f"{count} threads", marks=needs_root) for count in (1, 2)),
    ],
)
def test_ask_without_memory_or_threads_ends_with_one_line(sandbox: Sandbox, limit: list[str]) -> None:
    sandbox.program = [*limit, *sandbox.program]
    code, message = sandbox.run_command("ask", "THE TELETYPE IS", "--length", "20")
    assert (code, message) == (0, "") or (code == 71 and re.fullmatch(r"asr33: [^\n]+: [^\n]+\n", message)), message
    assert code == 71 or limit == limit_memory(310)  # how much it needs depends on the computer


@pytest.mark.parametrize(
    "limit",
    [
        *(pytest.param(limit_memory(mib), id=f"{mib} MiB") for mib in (60, 100, 300, 330, 400)),
        *(pytest.param(limit_processes(count), id=f"{count} threads", marks=needs_root) for count in (1, 2, 3)),
    ],
)
def test_a_server_without_memory_or_threads_ends_with_one_line(sandbox: Sandbox, limit: list[str]) -> None:
    sandbox.program = [*limit, *sandbox.program]
    code, message = sandbox.run_command("serve", "--model", "embedded", "--port", "0")
    assert code == 71
    assert re.fullmatch(r"(asr33: loading embedded\n)?asr33: [^\n]+: [^\n]+\n", message), message


@needs_root
def test_three_threads_are_enough_for_an_answer(sandbox: Sandbox) -> None:
    """The tokenizer starts no threads of its own for a prompt; its library panics where it cannot."""
    sandbox.program = [*limit_processes(3), *sandbox.program]
    assert sandbox.run_command("ask", "THE TELETYPE IS", "--length", "20", "--threads", "1") == (0, "")


@pytest.mark.parametrize(
    ("limit", "model"),
    [
        pytest.param(limit_memory(250), "embedded", id="memory"),
        pytest.param(limit_processes(1), "embedded", id="threads", marks=needs_root),
        pytest.param(limit_processes(1), "http://localhost:9", id="threads for a server", marks=needs_root),
    ],
)
def test_the_paper_of_a_daemon_without_memory_or_threads_says_so(
    sandbox: Sandbox, limit: list[str], model: str
) -> None:
    machine = sandbox.start_machine("--fast")
    Path(sandbox.environ["XDG_RUNTIME_DIR"]).chmod(0o777)
    sandbox.program = [*limit, *sandbox.program]
    daemon = sandbox.start("run", "--line", str(sandbox.link), "--fast", "--model", model)
    assert machine.stdin is not None
    _, messages = daemon.communicate(timeout=60)
    assert daemon.returncode == 71, messages
    assert b"Traceback" not in messages
    assert messages.decode().splitlines()[-1].startswith("asr33: ")
    wait_for(lambda: sandbox.paper_text().endswith(WORDS_ON_PAPER))


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_memory_that_runs_short_during_a_session_costs_an_answer_at_most(sandbox: Sandbox) -> None:
    machine = sandbox.start_machine("--fast")
    daemon = sandbox.start_daemon("--fast", "--length", "30")
    assert machine.stdin is not None

    def type_line(text: bytes) -> None:
        before = sandbox.paper_text().count("READY\n")
        machine.stdin.write(text)
        machine.stdin.flush()
        wait_for(lambda: sandbox.paper_text().count("READY\n") > before)

    type_line(b"THE FIRST LINE\n")
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_AS)
    resource.prlimit(daemon.pid, resource.RLIMIT_AS, (address_space(daemon.pid), limits[1]))
    for number in range(4):
        type_line(b"LINE %d " % number + b"WITH MANY WORDS " * 30 + b"\n")
    resource.prlimit(daemon.pid, resource.RLIMIT_AS, limits)
    type_line(b"THE LAST LINE\n")
    daemon.terminate()
    _, messages = daemon.communicate(timeout=30)
    assert daemon.returncode == 0, messages
    assert b"Traceback" not in messages
    [path] = Path(sandbox.environ["XDG_STATE_HOME"]).rglob("sessions/*.jsonl")
    typed = [record["text"] for record in map(json.loads, path.read_text().splitlines()) if record["ev"] == "typed"]
    assert len(typed) == 6
    assert typed[-1] == "THE LAST LINE"


class PanicException(BaseException):
    """As pyo3 names a panic of Rust."""


class PanickingModel(ScriptedModel):
    """Cannot count tokens at the first lines."""

    def count_tokens(self, text: str) -> int:
        if "BAD" in text.upper():
            with engine_errors():
                raise PanicException("index out of range")
        return super().count_tokens(text)


def test_a_line_whose_tokens_cannot_be_counted_is_logged_and_told(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, PanickingModel(split_words("so it goes.")))
        await daemon.type("THIS IS BAD")
        await daemon.type("THIS IS GOOD")
        await daemon.session.listening.wait()
        assert [record["text"] for record in daemon.log_records("typed")] == ["THIS IS BAD", "THIS IS GOOD"]
        assert "-- THE TOKENIZER FAILED (INDEX OUT OF RANGE): START IT AGAIN --\n\nREADY\n" in daemon.paper
        assert "SO IT GOES.\n\nREADY\n" in daemon.paper
        assert [record["finish"] for record in daemon.log_records("end")] == ["error", "sentence"]
        daemon.running.cancel()
        await asyncio.wait({daemon.running})

    run_jumping(main())


@pytest.mark.parametrize(
    "fault", [MemoryError(), PanicException("x"), RuntimeError("can't start new thread"), OSError(12, "no memory")]
)
def test_a_model_that_cannot_be_loaded_is_a_model_error(fault: BaseException) -> None:
    def fail() -> LocalEngine:
        raise fault

    async def main() -> None:
        model = LocalModel(fail)
        with pytest.raises(EngineFailed):
            await model.wait_ready()
        with pytest.raises(EngineFailed):
            model.count_tokens("x")
        with pytest.raises(EngineFailed):
            async for _ in model.stream("x", Sampling()):
                pass
        await model.close()

    asyncio.run(main())


BROKEN_LIBRARIES = {
    "not there": "raise ImportError('libgomp.so.1: cannot open shared object file', name='onnxruntime')",
    "no memory": "raise ImportError('/x/y.so: failed to map segment from shared object')",
    "bad_alloc": "raise ImportError('Exception caught: std::bad_alloc')",
    "many lines": "raise ImportError('\\n\\nIMPORTANT:\\n\\x1b[31m' + 'page ' * 900)",
}


@pytest.mark.parametrize(
    ("fault", "code"), [("not there", 69), ("no memory", 71), ("bad_alloc", 71), ("many lines", 69)]
)
@pytest.mark.parametrize("library", ["onnxruntime", "tokenizers", "numpy"])
def test_a_library_that_does_not_load_is_one_line(
    sandbox: Sandbox, tmp_path: Path, fault: str, code: int, library: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{library}.py").write_text(BROKEN_LIBRARIES[fault])
    sandbox.environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "broken"), str(ROOT)])
    got, message = sandbox.run_command("ask", "THE TELETYPE IS", "--length", "20")
    assert got == code, message
    assert re.fullmatch(r"asr33: [ -~]{1,400}\n", message), message


def test_the_paper_tells_that_a_library_does_not_load(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text(BROKEN_LIBRARIES["not there"])
    sandbox.environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "broken"), str(ROOT)])
    daemon = sandbox.start("run", "--line", str(sandbox.link), "--fast")
    _, messages = daemon.communicate(timeout=60)
    assert daemon.returncode == 69
    assert b"Traceback" not in messages
    wait_for(lambda: "\n-- NO MODEL --\n" in sandbox.paper_text())


def test_a_panic_of_rust_is_told_by_its_name() -> None:
    pool = "The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError(Os { code: 11"
    errors = [
        engine_error_for(error)
        for error in (PanicException("index out of range"), PanicException(pool), MemoryError(), KeyError())
    ]
    assert [error and error.exit_code for error in errors] == [71, 71, 71, None]
    wrapped = RuntimeError("cannot load")
    wrapped.__cause__ = RuntimeError("can't start new thread")
    assert "threads" in str(engine_error_for(wrapped))


@pytest.mark.parametrize(
    ("otherwise", "reason"),
    [
        ('["typo"]', "no model 'typo'"),
        ('["http://127.0.0.1:9", "typo"]', "no model 'typo'"),
        ('["http:/127.0.0.1:9"]', "no model 'http:/127.0.0.1:9'"),
        ('["ftp://127.0.0.1/"]', "not the URL of a model server"),
        ('["gpu.lan:8033"]', "if that is a server, write http://gpu.lan:8033"),
        ('[""]', "no model ''"),
        ('["torn"]', "not a manifest"),
    ],
)
@pytest.mark.parametrize("name", ["embedded", "http://127.0.0.1:9"])
def test_a_wrong_alternative_is_told_at_the_start(
    tmp_path: Path,
    otherwise: str,
    reason: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models" / "torn").mkdir(parents=True)
    (tmp_path / "models" / "torn" / "manifest.json").write_text("{")
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    (tmp_path / "c.toml").write_text(f'[model]\nname = "{name}"\notherwise = {otherwise}\n')
    code, message = main(["run", "--line", "/dev/null", "--config", str(tmp_path / "c.toml")]), capsys.readouterr().err
    assert code == 78
    assert re.fullmatch(r"asr33: \[model\] otherwise: [^\n]*\n", message), message
    assert reason in message


def test_only_the_installed_model_is_told_to_be_installed_again(tmp_path: Path) -> None:
    for name in ("embedded", "other"):
        copy = tmp_path / name
        shutil.copytree(ROOT / "model" / "embedded", copy)
        with (copy / "model.onnx").open("r+b") as file:
            file.seek(1000)
            file.write(b"xxxx")
        with pytest.raises(ModelDamaged) as damage:
            store.verify_model(copy)
        assert "install asr33 again" not in str(damage.value)
        (copy / "manifest.json").write_text("{")
        with pytest.raises(ModelDamaged) as damage:
            store.read_manifest(copy)
        assert "install asr33 again" not in str(damage.value)


@pytest.mark.parametrize("option", ["--config", "--machine"])
def test_a_configuration_without_end_is_refused(sandbox: Sandbox, option: str) -> None:
    words = [*sandbox.program, "run", "--line", "/dev/null", option, "/dev/zero"]
    done = subprocess.run(
        [*limit_memory(1000), *words], cwd=ROOT, env=sandbox.environ, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (78, 1), done.stderr
