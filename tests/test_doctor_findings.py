"""For each finding of `asr33 doctor`: the fault makes it, and without the fault the same examination is well."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes_completion_server import FakeBatchModel, running_server
from fakes_doctor import (
    LINE,
    NOBODY,
    add_process,
    login_page,
    open_pty,
    plug_in,
    process_on,
    run_as_nobody,
    scripted_daemon,
    write_udev_data,
)
from fakes_model import write_model

from daemon.config import Config, LineConfig, ModelConfig
from daemon.spool.job import JobRequest
from daemon.system_clock import read_clock_state
from drivers.line.tty_holders import TtyHolder
from model.server.api_keys import ApiKeys
from tools.doctor import examine, model_probe, system_probe
from tools.doctor.catalogue import CATALOGUE
from tools.doctor.daemon_findings import ConfigurationOrigin, DaemonReading, examine_daemon
from tools.doctor.daemon_probe import read_daemons
from tools.doctor.examine import DoctorOptions, load_config_or_default
from tools.doctor.finding import Examination, Unread
from tools.doctor.line_findings import PortAccess, PortReading, examine_port
from tools.doctor.line_probe import read_port
from tools.doctor.line_test import examine_loopback, print_test_page, read_loopback
from tools.doctor.model_findings import (
    EngineReading,
    examine_engine,
    examine_key_file,
    examine_model_files,
    examine_server,
)
from tools.doctor.system_findings import (
    FolderReading,
    UnitsReading,
    examine_clock,
    examine_configuration,
    examine_folder,
    examine_units,
)

FAST_S = 0.002  # for a character, where no machine listens
ALL_DAY = ("00:00-12:00", "12:00-00:00")
Examinations = list[Examination]
Case = Callable[[Path], Examinations]
FAULTS: dict[str, Case] = {}
HEALTHY: dict[str, Case] = {}


def fault(*ids: str) -> Callable[[Case], Case]:
    """Marks the case in which the doctor finds these."""
    return lambda case: FAULTS.update(dict.fromkeys(ids, case)) or case


def healthy(*ids: str) -> Callable[[Case], Case]:
    """Marks the case in which the doctor looks at the same and finds none of these."""
    return lambda case: HEALTHY.update(dict.fromkeys(ids, case)) or case


# The daemon.


def ask_daemon(
    folder: Path, *quiet: str, change: Callable[..., object] = lambda desk: None, **status: object
) -> Examinations:
    async def ask() -> Examinations:
        async with scripted_daemon(folder, *quiet, **status) as desk:  # type: ignore[arg-type]
            change(desk)
            readings = await read_daemons(folder, timeout_s=0.2)
        assert len(readings) == 1
        return examine_daemon(replace(readings[0], origin=ConfigurationOrigin()), ConfigurationOrigin())

    return asyncio.run(ask())


@fault("daemon-silent")
def daemon_that_hangs(folder: Path) -> Examinations:
    return ask_daemon(folder, is_silent=True)


@healthy(
    "daemon-silent",
    "daemon-of-another-user",
    "daemon-other-configuration",
    "line-lost",
    "line-stopped",
    "line-noisy",
    "quiet-hours",
    "hush",
    "private-time",
    "spool-clock",
    "paper-out",
    "paper-low",
    "jobs-held",
)
def daemon_that_answers(folder: Path) -> Examinations:
    return ask_daemon(folder, change=lambda desk: desk.count.begin_roll(1000))


@fault("daemon-of-another-user")
def daemon_of_the_service(folder: Path) -> Examinations:
    add_process(folder, 812, "asr33", ["/opt/asr33/bin/python", "/opt/asr33/bin/asr33", "run", "--line", LINE])
    os.chown(folder / "proc/812", NOBODY, NOBODY)
    (reading,) = asyncio.run(read_daemons(folder))
    assert (reading.pid, reading.user, reading.line) == (812, "nobody", LINE)
    return examine_daemon(reading, ConfigurationOrigin())


@fault("daemon-other-configuration")
def daemon_with_other_variables(folder: Path) -> Examinations:
    own, theirs = {"ASR33_ANSWER_LENGTH": "100"}, {"ASR33_ANSWER_LENGTH": "200", "ASR33_MODEL_NAME": "secret"}
    reading = DaemonReading("answered", 5, "ada", True, LINE, origin=ConfigurationOrigin(("/a.toml",), theirs))
    found = examine_daemon(reading, ConfigurationOrigin(("/b.toml",), own))
    sentence = next(finding.sentence for one in found for finding in one.findings)
    assert "reads /a.toml, and your commands read /b.toml" in sentence
    assert "other values of ASR33_ANSWER_LENGTH, ASR33_MODEL_NAME" in sentence
    assert "secret" not in sentence
    return found


@fault("line-lost")
def adapter_unplugged(folder: Path) -> Examinations:
    return ask_daemon(folder, lost="it was unplugged")


@fault("line-stopped")
def control_s(folder: Path) -> Examinations:
    return ask_daemon(folder, paused=True)


@fault("line-noisy")
def noise(folder: Path) -> Examinations:
    return ask_daemon(folder, is_noisy=True)


@fault("quiet-hours")
def quiet_all_day(folder: Path) -> Examinations:
    return ask_daemon(folder, *ALL_DAY)


@fault("hush")
def hush(folder: Path) -> Examinations:
    return ask_daemon(folder, change=lambda desk: desk.spool.hush(desk.clock.now(), 600))


@fault("private-time")
def private(folder: Path) -> Examinations:
    return ask_daemon(folder, change=lambda desk: setattr(desk.spool, "is_private", True))


@fault("spool-clock")
def quiet_hours_without_a_clock(folder: Path) -> Examinations:
    return ask_daemon(folder, "03:00-03:01", change=lambda desk: setattr(desk.spool, "is_clock_set", False))


@fault("paper-out", "paper-low")
def roll_at_its_end(folder: Path) -> Examinations:
    return ask_daemon(folder, change=lambda desk: desk.count.begin_roll(20))


@fault("jobs-held")
def held_job(folder: Path) -> Examinations:
    def hold(desk: object) -> None:
        place = desk.spool.add(0.0, JobRequest("mail", "ada", ("LINE",), float("inf")))  # type: ignore[attr-defined]
        desk.spool.hold(place.job_id)  # type: ignore[attr-defined]

    found = ask_daemon(folder, change=hold)
    assert [finding.cure for one in found for finding in one.findings] == ["asr33 spool release 1"]
    return found


# The ports.


@fault("port-absent")
def no_such_port(folder: Path) -> Examinations:
    return examine_port(read_port(str(folder / "ttyUSB0"), None, folder))


@contextmanager
def adapter(folder: Path, driver: str = "pl2303", usb: str = "067b:23c3") -> Iterator[tuple[str, Path]]:
    """Yields a pty to which the kernel's /sys gives an adapter, and the root of that /sys."""
    with open_pty() as (_, port):
        plug_in(folder, Path(port).name, driver, usb)
        (folder / "proc").mkdir(exist_ok=True)
        yield port, folder


@fault("adapter-speed")
def ftdi(folder: Path) -> Examinations:
    with adapter(folder, "ftdi_sio", "0403:6001") as (port, root):
        return examine_port(read_port(port, None, root))


@healthy(
    "port-absent",
    "adapter-speed",
    "port-denied",
    "port-getty",
    "port-modemmanager",
    "port-process",
)
def pl2303(folder: Path) -> Examinations:
    with adapter(folder) as (port, root):
        return examine_port(read_port(port, None, root))


@fault("port-denied")
def port_of_another_user(folder: Path) -> Examinations:
    with open_pty() as (_, port):
        Path(port).chmod(0o600)
        return as_nobody(lambda: examine_port(read_port(port, None, Path("/"))))


def as_nobody(look: Callable[[], Examinations]) -> Examinations:
    """Returns what a user without rights finds: the names and ids pass through a pipe."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    rows = run_as_nobody(lambda: [(one.name, one.why_not, [found.id for found in one.findings]) for one in look()])
    from tools.doctor.finding import make_finding

    return [
        Examination(name, "", "as nobody", tuple(make_finding(each, "", "ls") for each in ids), why)
        for name, why, ids in rows
    ]


def access(**changes: bool) -> PortReading:
    usual = PortAccess(True, "ada", "dialout", group_may=True, in_group=True, is_active=True)
    return PortReading(LINE, "ttyUSB7", "tty", access=replace(usual, **changes))  # type: ignore[arg-type]


@fault("group-not-active")
def login_of_before(folder: Path) -> Examinations:
    return examine_port(access(may_open=False, is_active=False))


@healthy("group-not-active")
def login_of_after(folder: Path) -> Examinations:
    return examine_port(access())


@fault("port-getty")
def getty(folder: Path) -> Examinations:
    with open_pty() as (_, port):
        add_process(folder, 640, "agetty", ["/sbin/agetty", "-o", "-p -- \\u", "ttyAMA0"], terminal=port)
        found = examine_port(read_port(port, None, folder))
        assert f"sudo systemctl disable --now serial-getty@{Path(port).name}" in cures(found)
        return found


@fault("port-modemmanager")
def modem_manager_on_the_port(folder: Path) -> Examinations:
    with open_pty() as (_, port):
        add_process(folder, 700, "ModemManager", ["/usr/sbin/ModemManager"], opens=port)
        return examine_port(read_port(port, None, folder))


@fault("port-process")
def real_process_on_the_port(folder: Path) -> Examinations:
    with open_pty() as (_, port), process_on(port) as pid:
        found = examine_port(read_port(port, None, Path("/")))
        assert any(f"sleep (process {pid})" in sentence for sentence in sentences(found))
        return found


@fault("modemmanager-probes")
def modem_manager_runs(folder: Path) -> Examinations:
    with adapter(folder) as (port, root):
        add_process(folder, 700, "ModemManager", ["/usr/sbin/ModemManager"])
        write_udev_data(root, port, "E:ID_SERIAL=Prolific_1")
        found = examine_port(read_port(port, None, root))
        assert "sudo asr33 install --adapter Prolific_1" in cures(found)
        return found


@healthy("modemmanager-probes")
def modem_manager_is_told(folder: Path) -> Examinations:
    with adapter(folder) as (port, root):
        add_process(folder, 700, "ModemManager", ["/usr/sbin/ModemManager"])
        write_udev_data(root, port, "E:ID_SERIAL=Prolific_1", "E:ID_MM_DEVICE_IGNORE=1")
        return examine_port(read_port(port, None, root))


def loopback(answer: Callable[[bytes], bytes]) -> Examinations:
    """Examines a pty whose far end gives this answer to each byte."""
    with open_pty() as (far_end, port):

        def echo() -> None:
            try:
                while data := os.read(far_end, 100):
                    os.write(far_end, answer(data))
            except OSError:  # the near end is closed
                pass

        async def look() -> Examinations:
            reading = asyncio.ensure_future(read_loopback(port, FAST_S))
            await asyncio.sleep(0.02)  # EIO of a pty that is not open yet would end the thread
            threading.Thread(target=echo, daemon=True).start()
            return [examine_loopback(port, await reading)]

        return asyncio.run(look())


@fault("loopback-silent")
def no_jumper(folder: Path) -> Examinations:
    return loopback(lambda data: b"")


@fault("loopback-damaged")
def bad_jumper(folder: Path) -> Examinations:
    return loopback(lambda data: bytes(byte ^ 0x20 for byte in data))


@healthy("loopback-silent", "loopback-damaged", "line-refused")
def jumper(folder: Path) -> Examinations:
    return loopback(lambda data: data)


@fault("line-refused")
def locked_line(folder: Path) -> Examinations:
    with open_pty() as (_, port), Path(port).open("r+b", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return [examine_loopback(port, asyncio.run(read_loopback(port, FAST_S)))]


@fault("print-failed")
def print_on_no_line(folder: Path) -> Examinations:
    return [asyncio.run(print_test_page(Config(line=LineConfig(port=str(folder / "gone")))))]


@healthy("print-failed")
def print_on_a_line(folder: Path) -> Examinations:
    with open_pty() as (_, port):
        return [asyncio.run(print_test_page(Config(line=LineConfig(port=port)), 0.0))]


# The system.


@fault("clock-not-set")
def clock_of_the_last_shutdown(folder: Path) -> Examinations:
    return [examine_clock("not set")]


@healthy("clock-not-set")
def clock_of_a_time_server(folder: Path) -> Examinations:
    (folder / "synchronized").touch()  # as systemd-timesyncd(8) makes it
    return [examine_clock(read_clock_state(folder / "synchronized"))]


def read_free_folder(folder: Path) -> FolderReading:
    reading = system_probe.read_folder("session logs", folder / "not/yet")
    assert isinstance(reading, FolderReading)
    assert reading.path == str(folder)
    return replace(reading, free_bytes=10**9, free_files=10**6)  # of a disk that may be full here


@fault("disk-full")
def full_disk(folder: Path) -> Examinations:
    return [examine_folder(replace(read_free_folder(folder), free_bytes=1000))]


def test_a_disk_without_room_for_one_more_file_is_full(tmp_path: Path) -> None:
    found = examine_folder(replace(read_free_folder(tmp_path), free_files=3))
    assert [finding.id for finding in found.findings] == ["disk-full"]


@fault("folder-read-only")
def read_only_disk(folder: Path) -> Examinations:
    return [examine_folder(replace(read_free_folder(folder), is_read_only=True))]


@fault("folder-denied")
def folder_of_another_user(folder: Path) -> Examinations:
    with TemporaryDirectory(dir="/tmp") as there:  # each folder of the test above this one is private
        Path(there).chmod(0o755)
        return as_nobody(lambda: [examine_folder(system_probe.read_folder("session logs", Path(there, "logs")))])


def test_a_folder_in_a_private_one_is_denied(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found = as_nobody(lambda: [examine_folder(system_probe.read_folder("session logs", tmp_path / "logs"))])
    assert ids(found) == {"folder-denied"}


@healthy("disk-full", "folder-read-only", "folder-denied")
def free_folder(folder: Path) -> Examinations:
    return [examine_folder(read_free_folder(folder))]


def booted(folder: Path, *units: str, output: str = "") -> Examinations:
    """Examines a system that systemd has booted; `output`: of systemctl list-units --plain --no-legend."""
    for path in ("run/systemd/system", "etc/systemd/system"):
        (folder / path).mkdir(parents=True)
    for unit in units:
        (folder / "etc/systemd/system" / unit).touch()
    return examine_units(system_probe.read_units(folder, lambda words: output))


@fault("unit-absent")
def nothing_installed(folder: Path) -> Examinations:
    return booted(folder)


@fault("unit-failed")
def failed_unit(folder: Path) -> Examinations:
    return booted(folder, "asr33@.service", output="asr33@ttyAMA0.service loaded failed failed Teletype on ttyAMA0\n")


@healthy("unit-absent", "unit-failed")
def running_unit(folder: Path) -> Examinations:
    return booted(folder, "asr33@.service", output="asr33@ttyAMA0.service loaded active running Teletype on ttyAMA0\n")


def configuration(folder: Path, text: str) -> Examinations:
    file = folder / "config.toml"
    file.write_text(text)
    options = DoctorOptions(config_file=file, root=folder, environ={})
    return [examine_configuration((str(file),), load_config_or_default(options)[1])]


@fault("configuration-wrong")
def misspelt_key(folder: Path) -> Examinations:
    found = configuration(folder, "[line]\nprot = 1\n")
    assert cures(found) == [f"sudoedit {folder / 'config.toml'}"]
    return found


@healthy("configuration-wrong")
def right_key(folder: Path) -> Examinations:
    return configuration(folder, "[line]\nself_test = false\n")


# The engine and the models.


def engine(folder: Path, *packages: str, with_code: bool = True) -> Examinations:
    """Examines a folder of packages, as pip leaves it."""
    for package in packages:
        info = folder / f"{package.replace('-', '_')}-1.31.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.31.1\n")
    (folder / "onnxruntime").mkdir()
    if with_code:
        (folder / "onnxruntime/__init__.py").touch()
    return examine_engine(model_probe.read_engine(folder, [str(folder)]))


@fault("engine-absent")
def no_engine(folder: Path) -> Examinations:
    return engine(folder)


@fault("onnxruntime-twice")
def both_engines(folder: Path) -> Examinations:
    return engine(folder, "onnxruntime", "onnxruntime-gpu")


@fault("onnxruntime-empty")
def emptied_engine(folder: Path) -> Examinations:
    return engine(folder, "onnxruntime-gpu", with_code=False)


@healthy("engine-absent", "onnxruntime-twice", "onnxruntime-empty")
def one_engine(folder: Path) -> Examinations:
    return engine(folder, "onnxruntime")


@fault("gpu-unused")
def gpu_without_cuda(folder: Path) -> Examinations:
    """The /sys of a GPU; the onnxruntime of the tests has no CUDA, or finds no such GPU."""
    device = folder / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    found = examine_engine(model_probe.read_engine(folder))
    if not found[1].findings:
        pytest.skip("this computer has a GPU that works")
    return found


@healthy("gpu-unused")
def gpu_with_cuda(folder: Path) -> Examinations:
    return examine_engine(EngineReading(("onnxruntime-gpu",), False, "PCI 0000:01:00.0", ""))


@fault("model-absent")
def no_model(folder: Path) -> Examinations:
    return [examine_model_files(model_probe.read_model_files("nonesuch"))]


def damaged_model(folder: Path) -> Path:
    write_model(folder / "mine", b"graph" * 1000)
    return folder / "mine"


@fault("model-damaged")
def one_byte_changed(folder: Path) -> Examinations:
    graph = damaged_model(folder) / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[1234] ^= 1
    graph.write_bytes(data)
    return [examine_model_files(model_probe.read_model_files(str(folder / "mine")))]


@healthy("model-absent", "model-damaged")
def every_byte_right(folder: Path) -> Examinations:
    return [examine_model_files(model_probe.read_model_files(str(damaged_model(folder))))]


# The servers.

KEY = "right-key-0123456789"


def ask_server(folder: Path, key: str = "", model: str = "") -> Examinations:
    """Asks a real server that knows KEY."""
    keys, key_file = folder / "keys", folder / "key"
    keys.write_text(f"{KEY}  the-machine\n")
    key_file.write_text(key)

    async def ask() -> Examinations:
        async with running_server(FakeBatchModel(), keys=ApiKeys(keys)) as (_, port):
            url = f"http://127.0.0.1:{port}{model}"
            config = ModelConfig(url, key_file=key_file if key else None)
            return [examine_server(await model_probe.read_server(url, config), "/etc/asr33/config.toml")]

    return asyncio.run(ask())


@fault("server-key-refused")
def wrong_key(folder: Path) -> Examinations:
    return ask_server(folder, "wrong-key-0123456789")


@fault("server-key-missing")
def no_key(folder: Path) -> Examinations:
    return ask_server(folder)


@fault("server-model-absent")
def other_model(folder: Path) -> Examinations:
    return ask_server(folder, KEY, "#huge")


@healthy(
    "server-unreachable",
    "server-login-page",
    "server-foreign",
    "server-model-absent",
    "server-key-missing",
    "server-key-refused",
)
def right_server(folder: Path) -> Examinations:
    return ask_server(folder, KEY)


def ask_page(status: str, *headers: str, body: str = "<!DOCTYPE html>") -> Examinations:
    async def ask() -> Examinations:
        async with login_page(status, *headers, body=body) as url:
            return [examine_server(await model_probe.read_server(url, ModelConfig(url)), "/etc/asr33/config.toml")]

    return asyncio.run(ask())


@fault("server-login-page")
def page_of_a_hotel(folder: Path) -> Examinations:
    return ask_page("200 OK", "Content-Type: text/html; charset=utf-8")


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "511 Network Authentication Required"])
def test_a_login_page_is_known_by_its_redirect_or_its_status(status: str) -> None:
    found = ask_page(status, "Location: https://login.hotel.example/?from=http", body="")
    assert [finding.id for finding in found[0].findings] == ["server-login-page"]


def test_the_key_goes_to_no_login_page(tmp_path: Path) -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
        )
        writer.close()

    async def ask() -> None:
        (tmp_path / "key").write_text(KEY)
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            reading = await model_probe.read_server(url, ModelConfig(url, key_file=tmp_path / "key"))
        assert reading.outcome == "login page"

    asyncio.run(ask())
    assert received
    assert KEY.encode() not in b"".join(received)


@fault("server-foreign")
def another_program(folder: Path) -> Examinations:
    return ask_page("200 OK", "Content-Type: application/json", body="[1, 2]")


@fault("server-unreachable")
def no_server(folder: Path) -> Examinations:
    url = "http://127.0.0.1:9"  # discard: nothing listens there
    return [examine_server(asyncio.run(model_probe.read_server(url, ModelConfig(url))), "/etc/asr33/config.toml")]


def key_file(folder: Path, content: str, mode: int) -> Examinations:
    file = folder / "api-key"
    file.write_text(content)
    file.chmod(mode)
    return [examine_key_file(model_probe.read_key_file(file))]


@fault("server-key-file")
def empty_key_file(folder: Path) -> Examinations:
    return key_file(folder, "\n", 0o600)


@fault("server-key-readable")
def key_for_all(folder: Path) -> Examinations:
    return key_file(folder, KEY, 0o644)


@healthy("server-key-file", "server-key-readable")
def key_for_one(folder: Path) -> Examinations:
    return key_file(folder, KEY, 0o600)


# Every finding of the catalogue.


def ids(found: Examinations) -> set[str]:
    return {finding.id for one in found for finding in one.findings}


def cures(found: Examinations) -> list[str]:
    return [finding.cure for one in found for finding in one.findings]


def sentences(found: Examinations) -> list[str]:
    return [finding.sentence for one in found for finding in one.findings]


def test_every_finding_has_a_case_with_its_fault_and_one_without() -> None:
    assert FAULTS.keys() == CATALOGUE.keys()
    assert HEALTHY.keys() == CATALOGUE.keys()


DESTRUCTIVE = re.compile(
    r"\brm\b|\bdd\b|mkfs|wipe|purge|kill|--now (?!serial-getty)|[^ ]>|>[^ ]|uninstall(?! -y onnxruntime)"
)


@pytest.mark.parametrize("finding_id", sorted(CATALOGUE))
def test_the_fault_is_found_and_without_it_the_same_examination_is_well(finding_id: str, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.mkdir()
    good.mkdir()
    found = FAULTS[finding_id](bad)
    assert finding_id in ids(found)
    assert not [cure for cure in cures(found) if not cure or DESTRUCTIVE.search(cure)]
    examined = {one.name for one in found if any(finding.id == finding_id for finding in one.findings)}
    after = HEALTHY[finding_id](good)
    assert finding_id not in ids(after)
    assert examined <= {one.name for one in after if one.state == "well"}


UNREAD = Unread("the test reads nothing")
DAEMON = DaemonReading("answered", 1, "ada", True, LINE)


@pytest.mark.parametrize(
    "found",
    [
        examine_daemon(DAEMON, ConfigurationOrigin())[1:],
        examine_port(PortReading(LINE, "ttyUSB7", "tty", hidden=3))[1:],
        [examine_clock("unknown")],
        [examine_folder(UNREAD, "models")],
        examine_units(UNREAD),
        examine_units(UnitsReading(installed=True)),
        examine_engine(UNREAD),
    ],
    ids=["daemon", "port", "clock", "folder", "systemd", "unit", "engine"],
)
def test_nothing_that_was_not_read_is_said_to_be_well(found: Examinations) -> None:
    assert found
    assert {one.state for one in found} == {"not examined"}
    assert all(one.why_not for one in found)


def test_files_that_other_users_hide_are_not_said_to_be_free(tmp_path: Path) -> None:
    with open_pty() as (_, port):
        found = {one.name: one for one in as_nobody(lambda: examine_port(read_port(port, None, Path("/"))))}
    assert "sudo asr33 doctor" in found["other processes on the line"].why_not


def test_a_gpu_that_was_not_tried_is_not_said_to_be_well() -> None:
    found = examine_engine(EngineReading(("onnxruntime",), False))
    assert found[1].state == "not examined"


def test_a_status_without_a_line_is_not_said_to_be_well() -> None:
    found = {one.name: one.state for one in examine_daemon(DAEMON, ConfigurationOrigin())}
    assert found["line of the daemon"] == "not examined"


def test_a_daemon_of_another_user_with_the_same_files_has_your_configuration() -> None:
    same = ConfigurationOrigin(("/etc/asr33/config.toml",))
    reading = replace(DAEMON, user="asr33", is_own=False, origin=same)
    assert not ids(examine_daemon(reading, same))
    assert ids(examine_daemon(reading, ConfigurationOrigin(("/home/ada/.config/asr33/config.toml",)))) == {
        "daemon-of-another-user"
    }
    assert ids(examine_daemon(replace(reading, origin=UNREAD), same)) == {"daemon-of-another-user"}


def test_the_permission_of_a_port_is_well_only_if_the_daemon_has_it_open() -> None:
    reading = PortReading(LINE, "ttyUSB7", "tty", daemon_pid=5)
    named = {one.name: one.state for one in examine_port(reading)}
    assert named["permission"] == "not examined"
    holder = TtyHolder(5, "asr33", has_as_terminal=False)
    named = {one.name: one.state for one in examine_port(replace(reading, holders=(holder,)))}
    assert (named["permission"], named["other processes on the line"]) == ("well", "well")


def test_the_disk_of_the_service_counts_and_not_your_permission_there(tmp_path: Path) -> None:
    folder = tmp_path / "var/log/asr33"
    folder.mkdir(parents=True)
    (place,) = system_probe.list_service_folders(tmp_path).values()
    reading = system_probe.read_folder("session logs of the service", place, is_own=False)
    assert isinstance(reading, FolderReading)
    assert not ids([examine_folder(replace(reading, free_bytes=10**9))])
    assert ids([examine_folder(replace(reading, free_bytes=1))]) == {"disk-full"}


def test_a_line_that_a_process_has_is_not_opened_for_the_loopback(tmp_path: Path) -> None:
    with open_pty() as (far_end, port), process_on(port):
        options = DoctorOptions(line=port, loopback=True, environ={})
        found = asyncio.run(examine.examine_all(options))
        os.set_blocking(far_end, False)
        with pytest.raises(BlockingIOError):
            os.read(far_end, 100)
    (loopback_test,) = [one for one in found if one.name == "loopback"]
    assert loopback_test.state == "not examined"
    assert "another process has the line" in loopback_test.why_not
