"""Clients that other people wrote, with a real server and the embedded model; `make clients` installs the clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes_serve_process import ServeProcess, serve_process

CLIENTS_HOME = Path(os.environ.get("CLIENTS_HOME", "~/.cache/asr33-clients")).expanduser()
PYTHON, LLM, NODE_FOLDER = CLIENTS_HOME / "venv/bin/python", CLIENTS_HOME / "venv/bin/llm", CLIENTS_HOME / "node"
SCRIPTS = Path(__file__).parent / "foreign_clients"
KEY = "north-window-0123456789"
GREEDY = {"model": "embedded", "temperature": 0, "max_tokens": 12}
MESSAGES = [{"role": "system", "content": "A talk."}, {"role": "user", "content": "The sea is"}]
PACKAGES = {
    "use_openai.py": "venv/lib/python3*/site-packages/openai",
    "use_litellm.py": "venv/lib/python3*/site-packages/litellm",
    "use_langchain.py": "venv/lib/python3*/site-packages/langchain_openai",
    "use_openai.cjs": "node/node_modules/openai",
}

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY} north\n")
    keys.chmod(0o600)
    with serve_process("--keys", str(keys)) as process:
        yield process.wait_until_open()


def fetch(server: ServeProcess, path: str, body: object = None) -> str:
    """Asks the server without any client's library."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(reply.read().decode())


def expected_text(server: ServeProcess) -> str:
    return str(json.loads(fetch(server, "/v1/completions", {"prompt": "The sea is", **GREEDY}))["choices"][0]["text"])


def expected_message(server: ServeProcess) -> str:
    choice = json.loads(fetch(server, "/v1/chat/completions", {"messages": MESSAGES, **GREEDY}))["choices"][0]
    return str(choice["message"]["content"])


def metric(server: ServeProcess, name: str) -> float:
    match = re.search(rf"^asr33_{name} (\S+)$", fetch(server, "/metrics"), re.MULTILINE)
    assert match
    return float(match.group(1))


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def client_environment(folder: Path) -> dict[str, str]:
    """Neither the user's settings nor the package under test, and no list of prices from the internet."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}


@contextmanager
def running_client(script: str, server: ServeProcess, folder: Path) -> Iterator[subprocess.Popen[str]]:
    if not list(CLIENTS_HOME.glob(PACKAGES[script])):
        pytest.skip(f"{script} has no client: make clients")
    node = shutil.which("node")
    if script.endswith(".cjs") and node is None:
        pytest.skip("node is not installed")
    program = [str(node), script, f"http://127.0.0.1:{server.port}", KEY, str(NODE_FOLDER)]
    if script.endswith(".py"):
        program = [str(PYTHON), script, f"http://127.0.0.1:{server.port}", KEY]
    process = subprocess.Popen(
        program,
        cwd=SCRIPTS,
        env=client_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    """Reads a line of the client; if it ends instead, fails with its last words."""
    assert process.stdout
    assert process.stderr
    line = process.stdout.readline()
    assert line, process.stderr.read()[-3000:]
    return line


@pytest.mark.parametrize("script", PACKAGES)
def test_a_client_gets_what_the_server_says_and_its_abort_frees_the_row(
    script: str, server: ServeProcess, tmp_path: Path
) -> None:
    text, message = expected_text(server), expected_message(server)
    cut_before = metric(server, "batch_cut_total")
    with running_client(script, server, tmp_path) as process:
        found: dict[str, Any] = json.loads(read_line(process))
        assert found["completion"] == "".join(found["stream"]) == text
        assert found["chat"] == "".join(found["chat_stream"]) == message
        assert len(found["stream"]) > 5
        assert len(found["chat_stream"]) > 5
        assert found["chat_finish"] == "length"
        assert found["models"] == ["embedded"]
        assert found.get("model", "embedded") == "embedded"
        assert found.get("chat_role", "assistant") == "assistant"
        assert found.get("helper", message) == message
        assert found.get("usage", 12) == 12
        assert found.get("refusal", "tools") in ("tools", "response_format")
        assert "".join(found.get("chat_tokens", [message])).strip() == message
        assert set(found.get("chat_tops", [3])) == {3}
        assert set(found.get("top_logprobs", [2])) <= {2, 3}
        for index, (number, answer) in enumerate(found.get("several", [])):
            assert number == index
            assert index or answer == text
        assert read_line(process) == "aborted\n"
        wait_for(lambda: metric(server, "batch_active") == 0)
        assert metric(server, "batch_cut_total") == cut_before + 1
        assert metric(server, "lines") == 0
        assert process.poll() is None, "the client's close was to be tried, not its end"


def write_llm_models(server: ServeProcess, folder: Path) -> dict[str, str]:
    """Tells llm of the server, as its documentation says. Returns the environment."""
    options = f"  model_name: embedded\n  api_base: http://127.0.0.1:{server.port}/v1\n  api_key_name: asr33\n"
    chat, completion = f"- model_id: teletype\n{options}", f"- model_id: tape\n{options}  completion: true\n"
    (folder / "extra-openai-models.yaml").write_text(chat + completion)
    (folder / "keys.json").write_text(json.dumps({"asr33": KEY}))
    return {**client_environment(folder), "LLM_USER_PATH": str(folder)}


@pytest.mark.skipif(not LLM.exists(), reason="llm is not installed: make clients")
def test_llm_asks_chats_and_stops_at_ctrl_c(server: ServeProcess, tmp_path: Path) -> None:
    environment = write_llm_models(server, tmp_path)

    def llm(*words: str) -> str:
        command = [str(LLM), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = ("-o", "temperature", "0", "-o", "max_tokens", "12")
    assert "teletype" in llm("models", "list")
    text, message = expected_text(server), expected_message(server)
    for stream in ((), ("--no-stream",)):
        assert llm("-m", "teletype", "-s", "A talk.", "The sea is", *options, *stream).strip() == message
        assert llm("-m", "tape", "The sea is", *options, *stream).strip() == text.strip()
    assert llm("-c", "And now?", *options).strip()  # a second turn of the last conversation

    cut_before = metric(server, "batch_cut_total")
    command = [str(LLM), "-m", "teletype", "The sea is", "-o", "max_tokens", "4000"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    wait_for(lambda: metric(server, "batch_active") == 0)
    assert metric(server, "batch_cut_total") == cut_before + 1


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_streams_a_chat_and_its_end_frees_the_row(server: ServeProcess) -> None:
    cut_before = metric(server, "batch_cut_total")
    body = json.dumps({"messages": MESSAGES, **GREEDY, "max_tokens": 4000, "stream": True})
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    command = ["curl", "-sN", url, "-H", f"Authorization: Bearer {KEY}", "-d", body]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b'data: {"id":"chatcmpl-')
        process.terminate()
        process.stdout.read()
    wait_for(lambda: metric(server, "batch_active") == 0)
    assert metric(server, "batch_cut_total") == cut_before + 1
