"""`asr33 install` and `uninstall` as processes, in a folder that stands for a system's root."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tools.cli.errors import ToolError
from tools.install.manifest import MANIFEST_PATH, InstallManifest, install_files, plan_installation, read_manifest
from tools.install.program_check import check_readable
from tools.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "/opt/asr33/bin/asr33"
UNIT = "usr/local/lib/systemd/system/asr33@.service"
RULE = "etc/udev/rules.d/70-asr33.rules"
EXPOSURE = 16  # tenths, as in test_systemd_units.py


def run_asr33(*words: str) -> str:
    """Runs a command in this process, which has the modules of all commands already; returns its messages."""
    messages = io.StringIO()
    with contextlib.redirect_stderr(messages):
        assert main(words) == 0
    return messages.getvalue()


def make_root(folder: Path) -> Path:
    program = folder / PROGRAM[1:]
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return folder


def listing(root: Path) -> dict[str, tuple[int, str]]:
    """Each path with its mode and content."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_text() if path.is_file() else "")
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_root(tmp_path_factory.mktemp("root"))
    words = ["install", "--root", str(root), "--program", PROGRAM, "--adapter", "My_Adapter_1"]
    command = [sys.executable, "-m", "tools.main", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    return root


@pytest.fixture
def root(installed: Path, tmp_path: Path) -> Path:
    """A copy of the installed root, to be changed."""
    return Path(shutil.copytree(installed, tmp_path / "root"))


def test_everything_is_in_its_place(installed: Path) -> None:
    places = {path.split("/")[-1] for path in listing(installed)}
    assert {"asr33@.service", "asr33-serve.service", "70-asr33.rules", "_asr33", "asr33.fish"} <= places
    assert {f"asr33-{name}.1" for name in COMMANDS} | {"asr33.1", "asr33.toml.5"} <= places
    for folder in ("sysusers.d", "tmpfiles.d"):
        assert (installed / "usr/local/lib" / folder / "asr33.conf").is_file()
    assert all(mode & 0o444 == 0o444 for mode, _ in listing(installed).values())
    assert f"ExecStart={PROGRAM} run --line /dev/%I" in (installed / UNIT).read_text()
    assert 'ENV{ID_SERIAL}=="My_Adapter_1"' in (installed / RULE).read_text()


def test_a_second_run_changes_nothing_and_keeps_the_adapter(root: Path) -> None:
    before = listing(root)
    done = run_asr33("install", "--root", str(root), "--program", PROGRAM)
    assert done == "asr33: everything is in place already\n"
    assert listing(root) == before


def test_uninstall_leaves_nothing(root: Path, tmp_path: Path) -> None:
    run_asr33("uninstall", "--root", str(root))
    bare = make_root(tmp_path / "bare")
    assert listing(root) == listing(bare)
    assert run_asr33("uninstall", "--root", str(root)) == "asr33: asr33 install has written nothing here\n"


def test_a_changed_file_is_kept_and_told(root: Path) -> None:
    (root / UNIT).write_text("mine\n")
    again = run_asr33("install", "--root", str(root), "--program", "/opt/asr33/bin/asr33")
    assert f"kept /{UNIT}: it was changed; delete it for the new one" in again
    gone = run_asr33("uninstall", "--root", str(root))
    assert f"kept /{UNIT}: it was changed; delete it yourself" in gone
    left = [name for name, (_, text) in listing(root).items() if text]
    assert left == [PROGRAM[1:], UNIT]
    assert (root / UNIT).read_text() == "mine\n"


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    before = listing(root)
    done = run_asr33("install", "--root", str(root), "--program", PROGRAM, "--dry-run")
    assert f"would write /{UNIT}" in done
    assert listing(root) == before


def test_the_rule_matches_no_adapter_until_one_is_named(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    run_asr33("install", "--root", str(root), "--program", PROGRAM)
    assert all(line.startswith("#") for line in (root / RULE).read_text().splitlines())


def test_a_unit_that_comes_before_the_installed_one_is_named(root: Path) -> None:
    older = root / "etc/systemd/system/asr33@.service"
    older.parent.mkdir(parents=True)
    older.write_text("")
    done = run_asr33("install", "--root", str(root), "--program", PROGRAM)
    assert "/etc/systemd/system/asr33@.service comes before the installed unit" in done


def test_the_links_that_start_the_services_at_boot_go(root: Path) -> None:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for name in ("asr33@ttyAMA0.service", "asr33-serve.service", "asr33-mine.service", "ssh.service"):
        (wants / name).symlink_to("/nowhere")
    run_asr33("uninstall", "--root", str(root))
    assert sorted(path.name for path in wants.iterdir()) == ["asr33-mine.service", "ssh.service"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_without_root_one_line_names_sudo(command: str) -> None:
    code = (
        "import os, sys; import tools.main, tools.install.command, tools.uninstall; os.setuid(65534);"
        f"sys.exit(tools.main.main(['{command}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (77, 1)
    assert f"sudo asr33 {command}" in done.stderr


@pytest.mark.parametrize(
    ("path", "mode", "reason"),
    [
        ("/srv/venv/bin/python", 0o755, None),
        ("/srv/venv/bin/python", 0o700, "has mode 700"),
        ("/srv/venv/bin/missing", 0o755, "No such file"),
        ("/root/venv/bin/python", 0o755, "the units hide /root"),
        ("/home/ada/bin/python", 0o755, "the units hide /home"),
    ],
)
def test_an_unreadable_interpreter_is_refused_with_the_cure(
    tmp_path: Path, path: str, mode: int, reason: str | None
) -> None:
    program = tmp_path / path[1:].replace("missing", "python")
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    program.parents[1].chmod(mode)
    if reason is None:
        check_readable([Path(path)], tmp_path)
        return
    with pytest.raises(ToolError, match=reason) as caught:
        check_readable([Path(path)], tmp_path)
    assert "python3 -m venv /opt/asr33" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interpreter_behind_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "root/.local").mkdir(parents=True)
    (tmp_path / "root/.local/python").write_text("")
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/python").symlink_to(tmp_path / "root/.local/python")
    with pytest.raises(ToolError, match="the units hide /root"):
        check_readable([Path("/srv/python")], tmp_path)


def test_the_program_of_this_environment_is_checked_with_its_interpreter(tmp_path: Path) -> None:
    """A venv in a folder of mode 700, as a home has it: pytest's folder is below /tmp, which the units hide."""
    code = (
        "import sys; import tools.main; from pathlib import Path; sys.executable = sys.argv[1];"
        "sys.exit(tools.main.main(['install', '--dry-run']))"
    )
    program = tmp_path / "asr33"
    program.write_text("")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "python")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (77, 1)
    assert f"cannot read {program}" in done.stderr


FILES = {"/a/b/one": b"1", "/a/two": b"2", "/c/three": b"3"}
NEWER = {"/a/b/one": b"1+", "/a/two": b"2", "/d/four": b"4"}


def install_step(root: Path, files: Mapping[str, bytes]) -> InstallManifest:
    old = read_manifest(root) or InstallManifest()
    return install_files(files, plan_installation(files, old, root), old, InstallManifest(program="/p"), root)


def test_an_update_replaces_and_removes_its_own_files(tmp_path: Path) -> None:
    install_step(tmp_path, FILES)
    manifest = install_step(tmp_path, NEWER)
    texts = {f"/{name}": text for name, (_, text) in listing(tmp_path).items() if text and not name.endswith(".json")}
    assert texts == {name: data.decode() for name, data in NEWER.items()}
    assert set(manifest.hashes) == set(NEWER)


def _die_at_write(count: int) -> None:
    """Kills this process, a child, in place of its write number `count`."""
    left, replace = [count], Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return replace(self, target)

    Path.replace = replace_or_die


def test_a_kill_between_two_files_leaves_none_that_the_next_run_takes_for_foreign(tmp_path: Path) -> None:
    """A process is killed after each number of files in turn; then the update is run again to its end."""
    for count in range(4):
        root = tmp_path / str(count)
        root.mkdir()
        install_step(root, FILES)
        pid = os.fork()
        if pid == 0:
            _die_at_write(count)
            install_step(root, NEWER)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL or count == 3
        plan = plan_installation(NEWER, read_manifest(root) or InstallManifest(), root)
        assert "keep" not in {change.action for change in plan}
        assert set(install_step(root, NEWER).hashes) == set(NEWER)
        assert not (root / "c/three").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "hashes": 3}'])
def test_a_damaged_manifest_is_one_line(tmp_path: Path, text: str) -> None:
    place = tmp_path / MANIFEST_PATH[1:]
    place.parent.mkdir(parents=True)
    place.write_text(text)
    with pytest.raises(ToolError, match="is damaged: delete it"):
        read_manifest(tmp_path)


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "a").symlink_to(outside)
    with pytest.raises(ToolError, match="leads out of"):
        install_step(root, FILES)
    assert not list(outside.iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_installed_units(root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    shutil.copytree("/usr/lib/systemd", root / "usr/lib/systemd", symlinks=True)
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "asr33@ttyUSB0.service", "asr33-serve.service"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if "asr33" in line]
    assert (done.returncode, about_ours) == (0, [])
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", root / UNIT]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed (apt-get install man-db)")
def test_man_formats_the_pages_without_a_warning(installed: Path) -> None:
    """Two pages with all that a page has; man takes a fifth of a second for each."""
    folder = installed / "usr/local/share/man"
    pages = [folder / "man1/asr33-spool.1", folder / "man1/asr33-run.1"]
    environ = os.environ | {"MANROFFOPT": "", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    done = subprocess.run(["man", "--warnings", "-l", *pages], capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--line PORT" in re.sub(r".\x08", "", done.stdout)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed (apt-get install mandoc)")
def test_mandoc_finds_no_fault_in_a_page(installed: Path) -> None:
    pages = sorted((installed / "usr/local/share/man").rglob("*.[15]"))
    assert len(pages) == len(COMMANDS) + 2
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


COMPLETED = [
    (["asr33", "cali"], ["calibrate"]),
    (["asr33", "log", "sho"], ["show"]),
    (["asr33", "log", "show", "--fol"], ["--follow"]),
    (["asr33", "run", "--lin"], ["--line"]),
]


@pytest.mark.parametrize(("words", "expected"), COMPLETED)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes(installed: Path, shell: str, words: list[str], expected: list[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    share = installed / "usr/local/share"
    if shell == "bash":
        script = (
            f"source {share}/bash-completion/completions/asr33; COMP_WORDS=({' '.join(words)});"
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _asr33; printf "%s\\n" "${COMPREPLY[@]}"'
        )
    else:
        script = f"source {share}/fish/vendor_completions.d/asr33.fish; complete -C '{' '.join(words)}'"
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=False)
    found = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert (found, done.stderr) == (expected, "")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_completion(installed: Path) -> None:
    file = installed / "usr/local/share/zsh/site-functions/_asr33"
    done = subprocess.run(["zsh", "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("perl") is None, reason="perl is not installed")
@pytest.mark.parametrize(
    ("unit", "is_left"), [("asr33@teletype.service", "1"), ("asr33-serve.service", "1"), ("x", "")]
)
def test_needrestart_leaves_the_services_alone(installed: Path, unit: str, is_left: str) -> None:
    """needrestart evaluates its files in Perl, and asks each pattern of override_rc."""
    text = (installed / "etc/needrestart/conf.d/asr33.conf").read_text()
    program = f"my %nrconf; {text}\nfor (keys %{{$nrconf{{override_rc}}}}) {{ print 1 if '{unit}' =~ /$_/ }}"
    done = subprocess.run(["perl", "-e", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (is_left, "")


def test_the_manifest_names_program_and_adapter(installed: Path) -> None:
    data = json.loads((installed / MANIFEST_PATH[1:]).read_text())
    assert (data["program"], data["adapter"]) == (PROGRAM, "My_Adapter_1")
