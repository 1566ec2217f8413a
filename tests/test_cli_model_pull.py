from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from fakes_hub_server import COMMIT, FakeHub, add_repository, serve_hub
from fakes_model import TEXT, TINY, tiny_tokenizer, tiny_weights
from safetensors.numpy import save_file

from model.build import download_folder, formats, hub_client
from model.build.hub_repository import PINNED_MODELS, HubAddress
from model.interface import GPT2Config
from model.store import store
from tools import main as command
from tools.cli import progress

ROOT = Path(__file__).resolve().parents[1]
LARGER = GPT2Config(vocab_size=300, n_positions=64, n_embd=256, n_layer=2, n_head=2)
HALF = 3_000_000  # bytes of LARGER's weights

Pull = Callable[..., int]
Complaint = Callable[[], str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(progress, "QUIET_S", 3600.0)
    (tmp_path / "text.txt").write_text(TEXT * 8)
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
        add_repository(hub, "some/tiny", hub_folder(tmp_path))
        yield hub
        huggingface_hub.close_session()


def hub_folder(parent: Path, shape: GPT2Config = TINY, **config: object) -> Path:
    """The folder of a model as the hub has it."""
    path = parent / "hub"
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "gpt2", **asdict(shape), **config}))
    (path / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    save_file(tiny_weights(shape), path / "model.safetensors")
    (path / "pytorch_model.bin").write_bytes(b"a pickle")
    (path / "README.md").write_text("A card.")
    return path


@pytest.fixture
def run(tmp_path: Path, hub: FakeHub) -> Pull:
    options = ["--as", "float32", "--text", str(tmp_path / "text.txt")]
    return lambda *words: command.main(["model", "pull", *words, *options])


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    def read() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("asr33: ")
        assert err.count("\n") == 1, err
        return err

    return read


def names_of_models(tmp_path: Path) -> list[str]:
    models = tmp_path / "models"
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


def start_process(tmp_path: Path, *words: str, limit: int = 0, models: Path | None = None) -> subprocess.Popen[bytes]:
    def limit_file_size() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "tools.main", "model", *words, "--as", "float32", "--text", str(tmp_path / "text.txt")],
        cwd=ROOT,
        env=os.environ | {"ASR33_MODELS": str(models or tmp_path / "models")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit_file_size,
    )


def test_a_model_is_pulled_whole_and_its_manifest_names_the_origin(
    run: Pull, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("some/tiny") == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny: 0.")
    assert "perplexity 1.0000 times" in out
    assert err == ""
    assert names_of_models(tmp_path) == ["tiny"]
    training = store.verify_model(store.find_model("tiny")).training
    assert (training["repository"], training["revision"], training["licence"]) == ("some/tiny", COMMIT, "mit")
    assert sorted(training["fetched"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert "some/tiny" in (store.find_model("tiny") / store.CARD_FILE).read_text()
    names = {request.path.rsplit("/", 1)[-1] for request in hub.requests if "/resolve/" in request.path}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_pulled_model_works_without_network(run: Pull, hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    run("some/tiny@" + COMMIT)
    request_count = len(hub.requests)
    assert command.main(["ask", "The operator", "--model", "tiny", "--max-tokens", "3"]) == 0
    capsys.readouterr()
    assert run("some/tiny@" + COMMIT) == 0
    assert capsys.readouterr().out == f"tiny: is here already, from some/tiny@{COMMIT}; --replace makes it again\n"
    assert len(hub.requests) == request_count


def test_a_pull_does_not_replace_a_model_without_replace(
    run: Pull, hub: FakeHub, complaint: Complaint, capsys: pytest.CaptureFixture[str]
) -> None:
    run("some/tiny")
    capsys.readouterr()
    assert run("some/tiny") == 73  # the branch main may have changed
    assert "choose another --name, or --replace it" in complaint()
    assert run("some/tiny", "--replace") == 0
    assert run("some/tiny", "--name", "other") == 0
    assert store.verify_model(store.find_model("other")).name == "other"


def test_openais_models_are_pulled_at_pinned_commits(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    for name, (repository, commit) in PINNED_MODELS.items():
        hub.commits[name] = commit
        add_repository(hub, repository, hub_folder(tmp_path))
    assert run("gpt2-medium") == 0
    repository, commit = PINNED_MODELS["gpt2-medium"]
    assert store.read_manifest(store.find_model("gpt2-medium")).training["revision"] == commit
    paths = {request.path for request in hub.requests}
    assert paths >= {f"/api/models/{repository}/revision/{commit}", f"/{repository}/resolve/{commit}/config.json"}


def test_a_pull_killed_halfway_fetches_only_the_rest(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    size = len(hub.repositories["some/larger"]["model.safetensors"])
    hub.wait_at = HALF
    first = start_process(tmp_path, "pull", "some/larger")
    assert hub.is_waiting.wait(30)
    (part,) = wait_for(lambda: [*(tmp_path / "models").glob(".larger.pull/*.part")])
    wait_for(lambda: part.stat().st_size > 1_000_000)
    first.kill()
    first.communicate()
    kept_bytes = part.stat().st_size
    hub.wait_at = 0
    hub.resume.set()

    second = start_process(tmp_path, "pull", "some/larger")
    _, err = second.communicate()
    assert second.returncode == 0, err
    request = hub.requests_for("model.safetensors")[-1]
    assert (request.range, request.sent) == (f"bytes={kept_bytes}-", size - kept_bytes)
    assert names_of_models(tmp_path) == ["larger"]
    store.verify_model(tmp_path / "models" / "larger")


def test_a_part_downloaded_before_ctrl_c_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    hub.wait_at = HALF
    pulling = start_process(tmp_path, "pull", "some/larger")
    assert hub.is_waiting.wait(30)
    wait_for(lambda: [path for path in (tmp_path / "models").glob(".larger.pull/*.part") if path.stat().st_size])
    pulling.send_signal(signal.SIGINT)
    out, err = pulling.communicate()
    assert (pulling.returncode, out) == (130, b"")
    remedy = b"the same command continues, and asr33 model remove larger deletes it"
    assert last_line(err) == b"asr33: the downloaded part is kept; " + remedy


def last_line(err: bytes) -> bytes:
    """The last line of standard error; on a slow machine, progress lines stand before it."""
    *progress_lines, line = err.splitlines()
    assert all(re.fullmatch(rb".*: \d+%, .* left", text) for text in progress_lines), err
    return line


def wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(3000):
        if value := condition():
            return value
        threading.Event().wait(0.01)
    raise AssertionError("the condition did not become true within 30 s")


def test_a_broken_connection_is_continued(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    hub.cut_at = HALF
    assert run("some/larger") == 0
    first, second = hub.requests_for("model.safetensors")
    assert first.sent == pytest.approx(HALF, abs=20_000)
    size = len(hub.repositories["some/larger"]["model.safetensors"])
    assert second.range == f"bytes={size - second.sent}-"
    assert second.sent < size - 2_000_000


@pytest.mark.parametrize("ranges", [True, False])
def test_a_partial_file_is_continued_also_if_the_hub_ignores_ranges(
    run: Pull, hub: FakeHub, tmp_path: Path, ranges: bool
) -> None:
    data = hub.repositories["some/tiny"]["model.safetensors"]
    hub_file = hub_client.list_repository(HubAddress("some/tiny", "main")).files["model.safetensors"]
    download = tmp_path / "models" / ".tiny.pull"
    download.mkdir(parents=True)
    (download / f"model.safetensors.{hub_file.digest[:12]}.part").write_bytes(data[:50_000])
    (download / "model.safetensors.0123456789ab.part").write_bytes(b"of another commit")
    hub.accepts_ranges = ranges
    assert run("some/tiny") == 0
    assert hub.requests_for("model.safetensors")[-1].sent == len(data) - (50_000 if ranges else 0)
    assert names_of_models(tmp_path) == ["tiny"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_a_wrong_hash_is_refused_and_deleted(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, name: str
) -> None:
    hub.corrupted_file = name
    assert run("some/tiny") == 65
    assert f"{name}: its hash differs from the hub's; the download is deleted" in complaint()
    assert names_of_models(tmp_path) == []


def test_a_file_longer_than_listed_is_refused(run: Pull, hub: FakeHub, complaint: Complaint) -> None:
    hub.longer_file = "model.safetensors"
    assert run("some/tiny") == 69
    assert "sends more than" in complaint()


def test_a_full_disk_leaves_nothing(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    done = start_process(tmp_path, "pull", "some/larger", limit=HALF)
    out, err = done.communicate()
    assert (done.returncode, out) == (73, b"")
    assert b"cannot be written (File too large); the download is deleted: make room" in last_line(err)
    assert names_of_models(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_during_the_pull_is_cleaned(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    hub.wait_at = HALF
    pulling = start_process(tmp_path, "pull", "some/larger", models=small_disk)
    assert hub.is_waiting.wait(30)
    with (small_disk / "others").open("wb", buffering=0) as file:
        while file.write(bytes(100_000)) == 100_000:  # a full disk accepts a part of the data
            pass
    hub.resume.set()
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"No space left on device" in err
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def test_disk_space_is_checked_before_the_download(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "others").write_bytes(bytes(8_000_000))
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    pulling = start_process(tmp_path, "pull", "some/larger", models=small_disk)
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"the download needs 7 MB" in err
    assert not hub.requests_for("model.safetensors")
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def test_a_disk_too_small_for_the_model_keeps_the_download(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    add_repository(hub, "some/larger", hub_folder(tmp_path, LARGER))
    pulling = start_process(tmp_path, "pull", "some/larger", models=small_disk)
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"No space left on device" in last_line(err)
    assert [path.name for path in small_disk.iterdir()] == [".larger.pull"]


def test_a_model_that_is_not_good_enough_is_not_fetched_twice(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(formats.LIMITS, "float32", formats.QualityLimits(0.5, 0.0003))
        assert run("some/tiny") == 65
    assert "perplexity" in complaint()
    assert names_of_models(tmp_path) == [".tiny.pull"]
    assert run("some/tiny") == 0
    assert len(hub.requests_for("model.safetensors")) == 1
    assert names_of_models(tmp_path) == ["tiny"]


REFUSALS: dict[str, tuple[dict[str, object], str, int, str]] = {
    "no such repository": ({}, "some/other", 66, "some/other: no such repository at http://127.0.0.1:"),
    "no such revision": ({}, "some/tiny@old", 66, "no such revision"),
    "gated": ({"gated": True}, "some/tiny", 77, "the owner limits access: agree to its terms at https://hugging"),
    "a file is gone": ({"missing_file": "config.json"}, "some/tiny", 66, "lists a file but does not have it"),
    "forbidden": ({"status": 403}, "some/tiny", 77, "refuses (403): correct HF_TOKEN"),
    "down": ({"status": 503}, "some/tiny", 69, "answers 503"),
    "a login page": ({"has_login_page": True}, "some/tiny", 69, "does not answer as a hub does"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_of_the_hub_is_a_one_line_error(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, case: str
) -> None:
    faults, name, code, message = REFUSALS[case]
    for fault, value in faults.items():
        setattr(hub, fault, value)
    assert run(name) == code
    assert message in complaint()
    assert names_of_models(tmp_path) == []


def test_no_network_is_a_one_line_error(run: Pull, monkeypatch: pytest.MonkeyPatch, complaint: Complaint) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run("some/tiny") == 69
    assert "http://127.0.0.1:9: no connection to the hub (" in complaint()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run("some/tiny") == 69
    assert "HF_HUB_OFFLINE forbids the download" in complaint()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.safetensors": None}, "its weights are only in pytorch_model.bin, which may run a stranger's program"),
        ({"model.safetensors": None, "pytorch_model.bin": None}, "has no model.safetensors"),
        ({"config.json": None}, "has no config.json"),
        ({"config.json": b"\xff"}, "its config.json is not JSON"),
        ({"config.json": b'{"model_type": "llama"}'}, "its model_type is 'llama', not 'gpt2'"),
        ({"tokenizer.json": None}, "has neither tokenizer.json nor vocab.json"),
        ({"tokenizer.json": b"{}"}, "some/tiny@0123456789abcdef0123456789abcdef01234567/tokenizer.json: the tokenizer"),
        ({"model.safetensors": None, "model.safetensors.index.json": b"{}"}, "does not tell where the weights are"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}'},
            "does not tell where the weights are",
        ),
    ],
)
def test_a_repository_without_gpt2_is_refused_before_its_weights(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, files: dict[str, bytes | None], message: str
) -> None:
    changed = hub.repositories["some/tiny"] | files
    hub.repositories["some/tiny"] = {name: data for name, data in changed.items() if data is not None}
    assert run("some/tiny") == 65
    assert message in complaint()
    assert names_of_models(tmp_path) == []
    assert "tokenizer" in message or not hub.requests_for(".safetensors")


def test_split_weights_are_fetched_completely(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    files, weights = hub.repositories["some/tiny"], tiny_weights()
    del files["model.safetensors"]
    index = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for file in set(index.values()):
        save_file({name: weights[name] for name in weights if index[name] == file}, tmp_path / file)
        files[file] = (tmp_path / file).read_bytes()
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    assert run("some/tiny") == 0
    assert len(store.read_manifest(store.find_model("tiny")).training["fetched"]) == 5


def test_a_token_goes_to_the_hub_alone(run: Pull, hub: FakeHub) -> None:
    assert run("some/tiny") == 0
    for_store = [request.path.startswith("/store/") for request in hub.requests]
    tokens = {(is_store, request.authorization) for is_store, request in zip(for_store, hub.requests, strict=True)}
    assert tokens == {(False, "Bearer hf_secret"), (True, None)}


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [("https://hub.example", None), ("http://127.0.0.1:80", None), ("http://hub.example", False)],
)
def test_a_token_is_never_sent_unencrypted(monkeypatch: pytest.MonkeyPatch, endpoint: str, token: bool | None) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub_client._token_setting() is token


def test_two_processes_cannot_pull_one_model_at_once(run: Pull, tmp_path: Path, complaint: Complaint) -> None:
    with download_folder.open_download_folder(tmp_path / "models", "tiny"):
        assert run("some/tiny") == 75
    assert "another process pulls this model" in complaint()


def test_without_huggingface_hub_the_extra_is_named(hub: FakeHub, tmp_path: Path) -> None:
    program = "import sys; sys.modules['huggingface_hub'] = None; from tools.main import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "model", "pull", "some/tiny"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 69
    assert done.stderr == "asr33: huggingface_hub is not installed: in asr33's folder, pip install '.[hub]'\n"


def test_only_a_pull_imports_huggingface_hub() -> None:
    program = (
        "import sys; from tools.main import main; main(['model', 'list']);"
        "import tools.ask, tools.run, model.generate.local_model;"
        "print({'huggingface_hub', 'httpx2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
