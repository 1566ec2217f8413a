"""The files in systemd/, checked by systemd's own tools without a running systemd, and against our commands."""

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
from model.client.http_client import CREDENTIAL_NAME
from tools.main import COMMANDS, import_command

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
PROGRAM = "/opt/asr33/bin/asr33"
EXPOSURE = 16  # the highest exposure by systemd-analyze security, in tenths; its scale is 0 to 100
PR_SET_MDWE, PR_SET_NO_NEW_PRIVS = 65, 38  # linux/prctl.h

analyze = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(analyze is None, reason="systemd-analyze is not installed (apt-get install systemd)")


def run_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    assert analyze is not None
    return subprocess.run([analyze, *words], capture_output=True, text=True, check=False, timeout=60)


def read_settings(unit: str) -> list[tuple[str, str]]:
    lines = (FOLDER / unit).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#["]
    return [(name, value) for name, _, value in pairs]


def read_values(unit: str, setting: str) -> list[str]:
    return [value for name, value in read_settings(unit) if name == setting]


def test_there_is_a_unit_for_the_daemon_and_the_server():
    assert UNITS == ["asr33-serve.service", "asr33@.service"]


@with_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_verifies_each_unit(unit: str, tmp_path: Path) -> None:
    """The unit is copied with a program that exists and with an instance name, which verify needs."""
    text = (FOLDER / unit).read_text().replace(PROGRAM, sys.executable)
    named = tmp_path / unit.replace("@.", "@ttyUSB0.")
    named.write_text(text)
    result = run_analyze("verify", "--man=no", str(named))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@with_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_of_each_unit_is_low(unit: str) -> None:
    result = run_analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(FOLDER / unit))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_of_each_unit_has_valid_options(unit: str) -> None:
    [line] = read_values(unit, "ExecStart")
    program, command, *words = line.replace("%I", "ttyUSB0").replace("%d", "/run/credentials/asr33").split()
    assert program == PROGRAM
    assert command in COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_command(command).add_arguments(parser)
    _, unknown = parser.parse_known_args(words)
    assert not unknown


def test_the_drop_in_in_the_document_loads_the_credentials_that_it_names() -> None:
    [block] = re.findall(r"^```ini\n(.*?)^```$", (ROOT / "docs/server.md").read_text(), re.MULTILINE | re.DOTALL)
    empty, line, none, credential = [text.partition("=")[2] for text in block.splitlines()[1:]]
    assert (empty, none) == ("", ""), "without the empty setting systemd would add to the list of the unit"
    program, command, *words = line.replace("%d", "/run/credentials/asr33").split()
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_command(command).add_arguments(parser)
    assert (program, parser.parse_known_args(words)[1]) == (PROGRAM, [])
    assert re.findall(r"%d/([\w.-]+)", line) == [credential.split(":")[0]]


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_loads_the_credentials_that_its_command_names(unit: str) -> None:
    [line] = read_values(unit, "ExecStart")
    loaded = {value.split(":")[0] for value in read_values(unit, "LoadCredential")}
    assert set(re.findall(r"%d/([\w.-]+)", line)) <= loaded


def test_the_daemon_finds_its_key_where_the_unit_puts_it():
    [credential] = read_values("asr33@.service", "LoadCredential")
    name, _, file = credential.partition(":")
    assert name == CREDENTIAL_NAME
    assert "/" not in file, "with a missing absolute path systemd would not start the unit"


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_restarts_except_for_errors_that_need_a_change(unit: str) -> None:
    [exit_codes] = read_values(unit, "RestartPreventExitStatus")
    assert exit_codes.split() == ["2", "64", "65", "66", "77", "78"]
    assert "0" in read_values(unit, "StartLimitIntervalSec")


def test_the_user_of_the_units_is_created():
    users = [line.split()[1] for line in (FOLDER / "asr33.sysusers").read_text().splitlines() if line.startswith("u ")]
    assert {user for unit in UNITS for user in read_values(unit, "User")} == set(users) == {"asr33"}


def test_the_udev_rule_matches_one_adapter_and_starts_its_daemon():
    lines = [line for line in (FOLDER / "70-asr33.rules").read_text().splitlines() if line[:1] not in ("#", "")]
    [terms] = [re.findall(r'([A-Z]+(?:\{\w+\})?)(==|\+=|=)"([^"]*)"', line) for line in lines]
    assert ", ".join(f'{name}{sign}"{value}"' for name, sign, value in terms) == lines[0]
    matched = {name for name, sign, _ in terms if sign == "=="}
    assert matched == {"SUBSYSTEM", "ENV{ID_SERIAL}"}, "a rule for every adapter would match unrelated ones"
    assigned = {name: value for name, sign, value in terms if sign != "=="}
    assert assigned["ENV{SYSTEMD_WANTS}"] == f"asr33@{assigned['SYMLINK']}.service"
    assert assigned["ENV{ID_MM_DEVICE_IGNORE}"] == "1"


def test_the_example_configuration_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = config.load_config({}, {}, config_file=FOLDER / "config.toml", system_folder=tmp_path)
    assert loaded.model.name.startswith("https://")
    assert loaded.line.port is None, "the unit names the line"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_engine_runs_without_writable_and_executable_memory(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute and NoNewPrivileges of the unit, set by prctl."""
    libc = ctypes.CDLL(None, use_errno=True)

    def restrict() -> None:
        if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            os._exit(125)

    words = [sys.executable, "-m", "tools.main", "ask", "The", "--max-tokens", "2", "--seed", "7"]
    options = {"capture_output": True, "text": True, "check": False, "timeout": 60}
    result = subprocess.run(words, cwd=ROOT, preexec_fn=restrict, **options)
    if result.returncode == 125:
        pytest.skip("this kernel is older than 6.3 and has no PR_SET_MDWE")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip()
