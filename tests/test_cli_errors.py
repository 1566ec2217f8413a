"""Each error gives one line that names the cure, and an exit code; no typed text is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "model" / "embedded"


def asr33(*words: str, stdin: bytes = b"", **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", *words],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env=os.environ | environ,
    )
    return done.returncode, done.stderr.decode()


def check(result: tuple[int, str], code: int, *says: str) -> None:
    returned, line = result
    assert (returned, line.count("\n")) == (code, 1), line
    assert line.startswith("asr33: ")
    for word in says:
        assert word in line


def test_run_without_a_line_is_refused() -> None:
    check(asr33("run"), 78, "--line", "asr33 demo")


def test_a_missing_port_is_refused() -> None:
    check(asr33("run", "--line", "/dev/nothing-there"), 69, "/dev/nothing-there")


def test_a_regular_file_is_not_a_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check(asr33("run", "--line", str(tmp_path / "file")), 69, "is not a tty")


def test_a_serial_server_that_does_not_answer() -> None:
    check(asr33("run", "--line", "socket://127.0.0.1:1"), 69, "socket://")


@pytest.mark.parametrize("command", ["run", "print", "calibrate"])
def test_a_missing_machine_file_is_refused(command: str) -> None:
    check(asr33(command, "--line", "/dev/null", "--machine", "/nonexistent/m.toml"), 78, "/nonexistent/m.toml")


def test_print_and_calibrate_without_a_line_are_refused(tmp_path: Path) -> None:
    nowhere = {name: str(tmp_path) for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR")}
    check(asr33("print", stdin=b"x", **nowhere), 78, "--line", "asr33 run")
    check(asr33("calibrate", **nowhere), 78, "--line")


def test_fast_is_refused_on_a_real_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check(asr33("print", "--fast", "--line", f"socket://127.0.0.1:{port}", stdin=b"x"), 69, "--fast")


def test_a_bad_server_url_is_refused() -> None:
    returned, line = asr33("ask", "x", "--model", "http://localhost:1")
    assert returned != 0
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("[line]\nprot = 'x'\n", "did you mean 'port'"), ("[answer]\nlength = 0\n", "must be from 1"), ("[", "not TOML")],
)
def test_a_bad_configuration_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "asr33.toml").write_text(text)
    check(asr33("run", "--config", str(tmp_path / "asr33.toml")), 78, "asr33.toml", says)


def test_a_missing_model_is_refused() -> None:
    check(asr33("run", "--line", "/dev/null", "--model", "nobody"), 66, "nobody", "embedded")


@pytest.mark.parametrize("command", [("ask", "x"), ("demo", "--fast", "--prompt", "x")])
def test_a_damaged_model_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    bad = shutil.copytree(EMBEDDED, tmp_path / "bad")
    damaged = bytearray((bad / "model.onnx").read_bytes())
    damaged[5000] ^= 1
    (bad / "model.onnx").write_bytes(damaged)
    code, message = asr33(*command, "--model", str(bad), XDG_STATE_HOME=str(tmp_path))
    check((code, message.splitlines(keepends=True)[-1]), 65, "model.onnx")


def test_a_truncated_model_file(tmp_path: Path) -> None:
    bad = shutil.copytree(EMBEDDED, tmp_path / "bad")
    (bad / "model.onnx").write_bytes((bad / "model.onnx").read_bytes()[:100_000])
    check(asr33("ask", "x", "--model", str(bad)), 65, "model.onnx")


def test_a_missing_model_file(tmp_path: Path) -> None:
    bad = shutil.copytree(EMBEDDED, tmp_path / "bad")
    (bad / "tokenizer.json").unlink()
    code, line = asr33("ask", "x", "--model", str(bad))
    check((code, line), code, "tokenizer.json")
    assert code in (65, 66)


def test_a_prompt_longer_than_the_context() -> None:
    check(asr33("ask", "word " * 2000), 65, "tokens", "shorten")


def test_a_prompt_that_is_not_utf8_is_refused() -> None:
    check(asr33("ask", "-", stdin=b"caf\xe9"), 65, "UTF-8")


def test_a_prompt_too_long_for_the_model_is_reported_on_paper_and_logged(tmp_path: Path) -> None:
    typed = "ABCDEFGH, " * 150
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "demo", "--fast", "--prompt", typed, "--log", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "-- " in done.stdout
    assert "TOKENS" in done.stdout
    [log] = tmp_path.glob("*.jsonl")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["text"] for record in records if record["ev"] == "typed"] == [typed]


def test_an_unusable_log_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, message = asr33("demo", "--fast", "--prompt", "x", "--log", str(tmp_path / "file" / "deeper"))
    check((code, message), 73, "--log")


def shell(line: str, **environ: str) -> tuple[int, str]:
    """Runs `asr33 ...` in a shell, with redirections."""
    command = line.replace("asr33", f"exec {sys.executable} -m tools.main", 1)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=os.environ | environ, capture_output=True, timeout=60)
    return done.returncode, done.stderr.decode()


def test_an_empty_line_name_is_refused() -> None:
    for command in ("run", "print", "calibrate"):
        check(asr33(command, "--line", ""), 69, "the line has no name")


@pytest.mark.parametrize("words", ["--version", "--help", "run --help", "model list"])
def test_a_full_output_gives_an_exit_code(words: str) -> None:
    if Path("/dev/full").exists():
        check(shell(f"asr33 {words} >/dev/full", PYTHONUNBUFFERED=""), 74, "No space left")


@pytest.mark.parametrize("words", ["--version", "model list", "ask x", "calibrate --line /dev/null"])
def test_a_closed_output_gives_an_exit_code(words: str) -> None:
    check(shell(f"asr33 {words} >&-"), 74, "standard output is closed")


def test_a_closed_standard_error_does_not_change_the_exit_code() -> None:
    assert shell("asr33 print --line /nonexistent/x 2>&- </dev/null") == (69, "")


@pytest.mark.parametrize("module", ["argparse", "tools.model.command", "model.errors", "importlib.metadata"])
def test_ctrl_c_during_imports_is_quiet(module: str) -> None:
    words = ["--version"] if module == "importlib.metadata" else ["model", "list"]
    program = f"""
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt

assert {module!r} not in sys.modules
sys.meta_path.insert(0, Interrupted())
from tools.main import main
sys.exit(main({words!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_missing_training_texts_are_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from tools.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", str(tmp_path / "no.txt"), "--name", "x", "--steps", "1"],
        cwd=ROOT,
        env=os.environ | {"ASR33_MODELS": str(tmp_path / "models")},
        capture_output=True,
        timeout=30,
    )
    check((done.returncode, done.stderr.decode()), 66, "no.txt")
    assert not (tmp_path / "models").exists()


def test_an_unknown_command_is_refused() -> None:
    check(asr33("rnu"), 2, "did you mean 'run'")
