"""The units of systemd/, by systemd's own tools, which need no systemd that runs; and what they say of our commands."""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import config
from model.client.api_key import CREDENTIAL_NAME
from tools.main import COMMANDS, import_command

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
PROGRAM = "/opt/asr33/bin/asr33"
EXPOSURE = 16  # tenths of what systemd-analyze security calls exposure; it has 0 to 100
PR_SET_MDWE, PR_SET_NO_NEW_PRIVS = 65, 38  # linux/prctl.h

analyze = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(analyze is None, reason="systemd-analyze is not installed (apt-get install systemd)")


def analysed(*words: str) -> subprocess.CompletedProcess[str]:
    assert analyze is not None
    return subprocess.run([analyze, *words], capture_output=True, text=True, check=False, timeout=60)


def settings(unit: str) -> list[tuple[str, str]]:
    lines = (FOLDER / unit).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#["]
    return [(name, value) for name, _, value in pairs]


def values(unit: str, setting: str) -> list[str]:
    return [value for name, value in settings(unit) if name == setting]


def test_there_is_a_unit_for_either_end():
    assert UNITS == ["asr33-serve.service", "asr33@.service"]


@with_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_to_say_of_a_unit(unit: str, tmp_path: Path) -> None:
    """With a program that is there, which verify wants; and an instance, which it would else invent."""
    text = (FOLDER / unit).read_text().replace(PROGRAM, sys.executable)
    named = tmp_path / unit.replace("@.", "@ttyUSB0.")
    named.write_text(text)
    done = analysed("verify", "--man=no", str(named))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@with_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_leaves_little_open(unit: str) -> None:
    done = analysed("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(FOLDER / unit))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_of_a_unit_is_one_that_asr33_takes(unit: str) -> None:
    [line] = values(unit, "ExecStart")
    program, command, *words = line.replace("%I", "ttyUSB0").replace("%d", "/run/credentials/asr33").split()
    assert program == PROGRAM
    assert command in COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_command(command).add_arguments(parser)
    _, unknown = parser.parse_known_args(words)
    assert not unknown


def test_the_drop_in_of_the_document_asks_for_no_credential_that_it_does_not_load() -> None:
    [block] = re.findall(r"^```ini\n(.*?)^```$", (ROOT / "docs/far-end.md").read_text(), re.MULTILINE | re.DOTALL)
    empty, line, none, credential = [text.partition("=")[2] for text in block.splitlines()[1:]]
    assert (empty, none) == ("", ""), "systemd would add to what the unit has"
    program, command, *words = line.replace("%d", "/run/credentials/asr33").split()
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_command(command).add_arguments(parser)
    assert (program, parser.parse_known_args(words)[1]) == (PROGRAM, [])
    assert re.findall(r"%d/([\w.-]+)", line) == [credential.split(":")[0]]


@pytest.mark.parametrize("unit", UNITS)
def test_a_credential_that_a_command_is_given_is_one_that_the_unit_loads(unit: str) -> None:
    [line] = values(unit, "ExecStart")
    loaded = {value.split(":")[0] for value in values(unit, "LoadCredential")}
    assert set(re.findall(r"%d/([\w.-]+)", line)) <= loaded


def test_the_daemon_finds_its_key_where_its_unit_puts_it_and_starts_without_one():
    [credential] = values("asr33@.service", "LoadCredential")
    name, _, file = credential.partition(":")
    assert name == CREDENTIAL_NAME
    assert "/" not in file, "systemd refuses to start a unit whose absolute path is not there"


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_tries_again_only_what_may_go_better_next_time(unit: str) -> None:
    [kept_down] = values(unit, "RestartPreventExitStatus")
    assert kept_down.split() == ["2", "64", "65", "66", "77", "78"]
    assert "0" in values(unit, "StartLimitIntervalSec")


def test_the_user_of_the_units_is_made():
    made = [line.split()[1] for line in (FOLDER / "asr33.sysusers").read_text().splitlines() if line.startswith("u ")]
    assert {user for unit in UNITS for user in values(unit, "User")} == set(made) == {"asr33"}


def test_the_rule_of_udev_is_for_one_adapter_and_starts_its_daemon():
    lines = [line for line in (FOLDER / "70-asr33.rules").read_text().splitlines() if line[:1] not in ("#", "")]
    [terms] = [re.findall(r'([A-Z]+(?:\{\w+\})?)(==|\+=|=)"([^"]*)"', line) for line in lines]
    assert ", ".join(f'{name}{sign}"{value}"' for name, sign, value in terms) == lines[0]
    asked = {name for name, sign, _ in terms if sign == "=="}
    assert asked == {"SUBSYSTEM", "ENV{ID_SERIAL}"}, "a rule for every adapter would take the neighbours' too"
    done = {name: value for name, sign, value in terms if sign != "=="}
    assert done["ENV{SYSTEMD_WANTS}"] == f"asr33@{done['SYMLINK']}.service"
    assert done["ENV{ID_MM_DEVICE_IGNORE}"] == "1"


def test_the_example_of_a_configuration_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read = config.load_config({}, {}, config_file=FOLDER / "config.toml", system_folder=tmp_path)
    assert read.model.name.startswith("https://")
    assert read.line.port is None, "the unit names the line"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_engine_needs_no_memory_that_is_both_written_and_run(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute and NoNewPrivileges, as the daemon's unit has them, by the kernel's own name."""
    libc = ctypes.CDLL(None, use_errno=True)

    def bound() -> None:
        if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            os._exit(125)

    words = [sys.executable, "-m", "tools.main", "ask", "The", "--max-tokens", "2", "--seed", "7"]
    done = subprocess.run(words, cwd=ROOT, preexec_fn=bound, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 125:
        pytest.skip("this kernel is older than 6.3 and has no PR_SET_MDWE")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
