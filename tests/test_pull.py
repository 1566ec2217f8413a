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
from fakes_hub import COMMIT, FakeHub, add_repository, serve_hub
from fakes_model import TEXT, TINY, tiny_tokenizer, tiny_weights
from safetensors.numpy import save_file

from model.build import download_folder, export, hub_client
from model.build.hub_repository import PINNED_MODELS, HubAddress
from model.interface import GPT2Config
from model.store import store
from tools import main as command
from tools.model import make

ROOT = Path(__file__).resolve().parents[1]
LARGER = GPT2Config(vocab_size=300, n_positions=64, n_embd=256, n_layer=2, n_head=2)
HALF = 3_000_000  # of the larger one's weights

Pull = Callable[..., int]
Complaint = Callable[[], str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(make, "QUIET_S", 3600.0)  # in this process
    (tmp_path / "text.txt").write_text(TEXT * 8)
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
        add_repository(hub, "some/tiny", folder(tmp_path))
        yield hub
        huggingface_hub.close_session()


def folder(parent: Path, shape: GPT2Config = TINY, **config: object) -> Path:
    """What the hub has of a model."""
    path = parent / "there"
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "gpt2", **asdict(shape), **config}))
    (path / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    save_file(tiny_weights(shape), path / "model.safetensors")
    (path / "pytorch_model.bin").write_bytes(b"a pickle")
    (path / "README.md").write_text("A card.")
    return path


@pytest.fixture
def run(tmp_path: Path, hub: FakeHub) -> Pull:
    return lambda *words: command.main(
        ["model", "pull", *words, "--as", "float32", "--text", str(tmp_path / "text.txt")]
    )


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    def said() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("asr33: ")
        assert err.count("\n") == 1, err
        return err

    return said


def home(tmp_path: Path) -> list[str]:
    models = tmp_path / "models"
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


def process(tmp_path: Path, *words: str, limit: int = 0, models: Path | None = None) -> subprocess.Popen[bytes]:
    def less() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "tools.main", "model", *words, "--as", "float32", "--text", str(tmp_path / "text.txt")],
        cwd=ROOT,
        env=os.environ | {"ASR33_MODELS": str(models or tmp_path / "models")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=less,
    )


def test_a_model_is_pulled_whole_and_says_where_it_is_from(
    run: Pull, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("some/tiny") == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny: 0.")
    assert "perplexity 1.0000 times" in out
    assert err == ""
    assert home(tmp_path) == ["tiny"]
    training = store.verify_model(store.find_model("tiny")).training
    assert (training["repository"], training["revision"], training["licence"]) == ("some/tiny", COMMIT, "mit")
    assert sorted(training["fetched"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert "some/tiny" in (store.find_model("tiny") / store.CARD_FILE).read_text()
    asked_for = {asked.path.rsplit("/", 1)[-1] for asked in hub.requests if "/resolve/" in asked.path}
    assert asked_for == {"config.json", "model.safetensors", "tokenizer.json"}


def test_it_works_with_no_network_afterwards(run: Pull, hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    run("some/tiny@" + COMMIT)
    asked = len(hub.requests)
    assert command.main(["ask", "The operator", "--model", "tiny", "--max-tokens", "3"]) == 0
    capsys.readouterr()
    assert run("some/tiny@" + COMMIT) == 0
    assert capsys.readouterr().out == f"tiny: is here already, from some/tiny@{COMMIT}; --replace makes it anew\n"
    assert len(hub.requests) == asked


def test_what_has_the_name_stays_unless_told(
    run: Pull, hub: FakeHub, complaint: Complaint, capsys: pytest.CaptureFixture[str]
) -> None:
    run("some/tiny")
    capsys.readouterr()
    assert run("some/tiny") == 73  # main may be another by now
    assert "choose another --name, or --replace it" in complaint()
    assert run("some/tiny", "--replace") == 0
    assert run("some/tiny", "--name", "other") == 0
    assert store.verify_model(store.find_model("other")).name == "other"


def test_the_four_of_openai_are_asked_for_at_their_commits(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    for name, (whole, commit) in PINNED_MODELS.items():
        hub.commits[name] = commit
        add_repository(hub, whole, folder(tmp_path))
    assert run("gpt2-medium") == 0
    whole, commit = PINNED_MODELS["gpt2-medium"]
    assert store.read_manifest(store.find_model("gpt2-medium")).training["revision"] == commit
    assert {f"/api/models/{whole}/revision/{commit}", f"/{whole}/resolve/{commit}/config.json"} <= {
        asked.path for asked in hub.requests
    }


def test_killed_at_half_it_fetches_only_the_rest(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    whole = len(hub.repositories["some/larger"]["model.safetensors"])
    hub.wait_at = HALF
    first = process(tmp_path, "pull", "some/larger")
    assert hub.waiting.wait(30)
    (part,) = until(lambda: [*(tmp_path / "models").glob(".larger.pull/*.part")])
    until(lambda: part.stat().st_size > 1_000_000)
    first.kill()
    first.communicate()
    there = part.stat().st_size
    hub.wait_at = 0
    hub.going_on.set()

    second = process(tmp_path, "pull", "some/larger")
    _, err = second.communicate()
    assert second.returncode == 0, err
    last = hub.requests_for("model.safetensors")[-1]
    assert (last.range, last.sent) == (f"bytes={there}-", whole - there)
    assert home(tmp_path) == ["larger"]
    store.verify_model(tmp_path / "models" / "larger")


def test_what_came_before_ctrl_c_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    hub.wait_at = HALF
    pulling = process(tmp_path, "pull", "some/larger")
    assert hub.waiting.wait(30)
    until(lambda: [path for path in (tmp_path / "models").glob(".larger.pull/*.part") if path.stat().st_size])
    pulling.send_signal(signal.SIGINT)
    out, err = pulling.communicate()
    assert (pulling.returncode, out) == (130, b"")
    assert last(err) == b"asr33: what came is kept; the same command goes on, and asr33 model remove larger drops it"


def last(err: bytes) -> bytes:
    """The line on standard error; where all is slow, the command has said there how far it is."""
    *progress, said = err.splitlines()
    assert all(re.fullmatch(rb".*: \d+%, .* left", line) for line in progress), err
    return said


def until(found: Callable[[], Any]) -> Any:
    for _ in range(3000):
        if there := found():
            return there
        threading.Event().wait(0.01)
    raise AssertionError("it never was")


def test_a_connection_that_breaks_off_is_taken_up_again(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    hub.cut_at = HALF
    assert run("some/larger") == 0
    first, second = hub.requests_for("model.safetensors")
    assert first.sent == pytest.approx(HALF, abs=20_000)
    whole = len(hub.repositories["some/larger"]["model.safetensors"])
    assert second.range == f"bytes={whole - second.sent}-"
    assert second.sent < whole - 2_000_000


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_another_process_is_gone_on_with_also_where_the_hub_knows_no_ranges(
    run: Pull, hub: FakeHub, tmp_path: Path, ranges: bool
) -> None:
    data = hub.repositories["some/tiny"]["model.safetensors"]
    stored = hub_client.list_repository(HubAddress("some/tiny", "main")).files["model.safetensors"]
    place = tmp_path / "models" / ".tiny.pull"
    place.mkdir(parents=True)
    (place / f"model.safetensors.{stored.digest[:12]}.part").write_bytes(data[:50_000])
    (place / "model.safetensors.0123456789ab.part").write_bytes(b"of another commit")
    hub.ranges = ranges
    assert run("some/tiny") == 0
    assert hub.requests_for("model.safetensors")[-1].sent == len(data) - (50_000 if ranges else 0)
    assert home(tmp_path) == ["tiny"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_is_not_what_the_hub_told_of_is_refused_and_nothing_of_it_kept(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, name: str
) -> None:
    hub.wrong = name
    assert run("some/tiny") == 65
    assert f"{name}: what came is not what the hub told of, by its hash" in complaint()
    assert home(tmp_path) == []


def test_a_file_that_does_not_end_is_ended(run: Pull, hub: FakeHub, complaint: Complaint) -> None:
    hub.longer = "model.safetensors"
    assert run("some/tiny") == 69
    assert "sends more than" in complaint()


def test_a_full_disk_keeps_nothing(hub: FakeHub, tmp_path: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    done = process(tmp_path, "pull", "some/larger", limit=HALF)
    out, err = done.communicate()
    assert (done.returncode, out) == (73, b"")
    assert b"cannot be written (File too large); nothing of it is kept: make room there" in last(err)
    assert home(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full_in_the_middle_is_as_it_was(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    hub.wait_at = HALF
    pulling = process(tmp_path, "pull", "some/larger", models=small_disk)
    assert hub.waiting.wait(30)
    with (small_disk / "others").open("wb", buffering=0) as file:
        while file.write(bytes(100_000)) == 100_000:  # a disk that is full takes a part of it
            pass
    hub.going_on.set()
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"No space left on device" in err
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def test_room_is_asked_for_before_a_byte_comes(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "others").write_bytes(bytes(8_000_000))
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    pulling = process(tmp_path, "pull", "some/larger", models=small_disk)
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"7 MB are to come, and there is room for" in err
    assert not hub.requests_for("model.safetensors")
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def test_a_disk_too_small_for_the_model_keeps_what_was_fetched(hub: FakeHub, tmp_path: Path, small_disk: Path) -> None:
    add_repository(hub, "some/larger", folder(tmp_path, LARGER))
    pulling = process(tmp_path, "pull", "some/larger", models=small_disk)
    _, err = pulling.communicate()
    assert pulling.returncode == 73
    assert b"No space left on device" in last(err)
    assert [path.name for path in small_disk.iterdir()] == [".larger.pull"]


def test_what_is_not_good_enough_is_not_fetched_twice(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(export.MAX_PERPLEXITY_RATIO, "float32", 0.5)
        assert run("some/tiny") == 65
    assert "perplexity" in complaint()
    assert home(tmp_path) == [".tiny.pull"]
    assert run("some/tiny") == 0
    assert len(hub.requests_for("model.safetensors")) == 1
    assert home(tmp_path) == ["tiny"]


WRONG: dict[str, tuple[dict[str, object], str, int, str]] = {
    "no such repository": ({}, "some/other", 66, "some/other: no such repository at http://127.0.0.1:"),
    "no such revision": ({}, "some/tiny@old", 66, "no such revision"),
    "gated": ({"gated": True}, "some/tiny", 77, "its owner wants you to agree to terms: do so at https://hugging"),
    "a file is gone": ({"missing": "config.json"}, "some/tiny", 66, "tells of a file and does not have it"),
    "forbidden": ({"status": 403}, "some/tiny", 77, "refuses (403): see that HF_TOKEN is right"),
    "down": ({"status": 503}, "some/tiny", 69, "answers 503"),
    "a hotel": ({"garbled": True}, "some/tiny", 69, "does not answer as a hub does"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_hub_refuses_is_one_line(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, what: str
) -> None:
    faults, name, code, says = WRONG[what]
    for fault, value in faults.items():
        setattr(hub, fault, value)
    assert run(name) == code
    assert says in complaint()
    assert home(tmp_path) == []


def test_no_network_is_one_line(run: Pull, monkeypatch: pytest.MonkeyPatch, complaint: Complaint) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run("some/tiny") == 69
    assert "http://127.0.0.1:9: offline, or broken off (" in complaint()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run("some/tiny") == 69
    assert "offline, since HF_HUB_OFFLINE says so" in complaint()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": None}, "its weights are only in pytorch_model.bin, which may run a stranger's program"),
        ({"model.safetensors": None, "pytorch_model.bin": None}, "has no model.safetensors"),
        ({"config.json": None}, "has no config.json"),
        ({"config.json": b"\xff"}, "its config.json is not JSON"),
        ({"config.json": b'{"model_type": "llama"}'}, "its model_type is 'llama', not 'gpt2'"),
        ({"tokenizer.json": None}, "has neither tokenizer.json nor vocab.json"),
        ({"tokenizer.json": b"{}"}, "some/tiny@0123456789abcdef0123456789abcdef01234567: the tokenizer"),
        ({"model.safetensors": None, "model.safetensors.index.json": b"{}"}, "does not tell where the weights are"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}'},
            "does not tell where the weights are",
        ),
    ],
)
def test_what_is_no_gpt2_is_refused_before_its_weights_come(
    run: Pull, hub: FakeHub, tmp_path: Path, complaint: Complaint, files: dict[str, bytes | None], says: str
) -> None:
    there = hub.repositories["some/tiny"] | files
    hub.repositories["some/tiny"] = {name: data for name, data in there.items() if data is not None}
    assert run("some/tiny") == 65
    assert says in complaint()
    assert home(tmp_path) == []
    assert "tokenizer" in says or not hub.requests_for(".safetensors")


def test_weights_in_several_files_all_come(run: Pull, hub: FakeHub, tmp_path: Path) -> None:
    files, weights = hub.repositories["some/tiny"], tiny_weights()
    del files["model.safetensors"]
    index = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for file in set(index.values()):
        save_file({name: weights[name] for name in weights if index[name] == file}, tmp_path / file)
        files[file] = (tmp_path / file).read_bytes()
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    assert run("some/tiny") == 0
    assert len(store.read_manifest(store.find_model("tiny")).training["fetched"]) == 5


def test_a_token_goes_to_the_hub_and_no_further(run: Pull, hub: FakeHub) -> None:
    assert run("some/tiny") == 0
    there, beyond = [[a for a in hub.requests if a.path.startswith("/store/") == far] for far in (False, True)]
    assert {asked.authorization for asked in there} == {"Bearer hf_secret"}
    assert {asked.authorization for asked in beyond} == {None}


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [("https://hub.example", None), ("http://127.0.0.1:80", None), ("http://hub.example", False)],
)
def test_a_token_goes_to_nobody_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, token: bool | None
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub_client._token_setting() is token


def test_two_cannot_pull_the_same(run: Pull, tmp_path: Path, complaint: Complaint) -> None:
    with download_folder.open_download_folder(tmp_path / "models", "tiny"):
        assert run("some/tiny") == 75
    assert "another process pulls this model" in complaint()


def test_without_the_library_the_extra_is_named(hub: FakeHub, tmp_path: Path) -> None:
    program = "import sys; sys.modules['huggingface_hub'] = None; from tools.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "model", "pull", "some/tiny"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 69
    assert done.stderr == "asr33: huggingface_hub is not installed: in asr33's folder, pip install '.[hub]'\n"


def test_only_a_pull_loads_the_library() -> None:
    program = (
        "import sys; from tools.main import main; main(['model', 'list']); import tools.ask, tools.run, model.generate.local_model;"
        "print({'huggingface_hub', 'httpx2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
