"""Takes all examinations in order: the daemons first, since opening their lines would move DTR and RTS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from daemon.config import Config, load_config
from daemon.errors import ConfigError
from daemon.system_clock import read_clock_state
from model.server_url import is_url
from tools.doctor import line_test
from tools.doctor.daemon_findings import DaemonReading, examine_daemon, examine_no_daemon
from tools.doctor.daemon_probe import read_daemons, read_own_origin
from tools.doctor.finding import Examination, Unread, not_examined
from tools.doctor.line_findings import PortReading, examine_no_port, examine_port
from tools.doctor.line_probe import choose_ports, read_port
from tools.doctor.model_findings import examine_engine, examine_key_file, examine_model_files, examine_server
from tools.doctor.model_probe import (
    list_local_models,
    list_servers,
    read_engine,
    read_key_file,
    read_model_files,
    read_server,
)
from tools.doctor.system_findings import examine_clock, examine_configuration, examine_folder, examine_units
from tools.doctor.system_probe import list_folders, list_service_folders, read_folder, read_units

ROOT = Path("/")
_HELD = "a daemon or another process has the line"
OnStage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What is asked for; `root`: the folder that has /proc, /sys, /dev, /etc and /run."""

    line: str | None = None
    config_file: Path | None = None
    loopback: bool = False
    print_test: bool = False
    root: Path = ROOT
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


async def examine_all(options: DoctorOptions, on_stage: OnStage = lambda stage: None) -> list[Examination]:
    """Returns all examinations; `on_stage` gets the name of each before it begins."""
    on_stage("the daemons")
    daemons = await read_daemons(options.root)
    own = read_own_origin(options.config_file, options.environ, options.root)
    found: list[Examination] = []
    for daemon in daemons:
        found += examine_daemon(daemon, own)
    found += [] if daemons else examine_no_daemon()

    config, error = load_config_or_default(options)
    found.append(examine_configuration(own.files, error))
    on_stage("the ports")
    found += await _examine_ports(options, config, daemons)
    on_stage("the system")
    mark = options.root / "run/systemd/timesync/synchronized"
    found += _look("clock", "", lambda: [examine_clock(read_clock_state(mark))])
    for purpose, folder in list_folders(config).items():
        found += _look("folder", purpose, partial(_examine_folder, purpose, folder, is_own=True))
    for purpose, folder in list_service_folders(options.root).items():
        found += _look("folder", purpose, partial(_examine_folder, purpose, folder, is_own=False))
    found += _look("systemd unit", "", lambda: examine_units(read_units(options.root)))
    return found + await _examine_models(options, config, own.files[-1] if own.files else "", on_stage)


def _examine_folder(purpose: str, folder: Path | None, *, is_own: bool) -> list[Examination]:
    return [examine_folder(read_folder(purpose, folder, is_own=is_own), purpose)]


def _look(name: str, subject: str, look: Callable[[], list[Examination]]) -> list[Examination]:
    """Returns what the look at a part of the computer gives; that it cannot be read is told, and stops no other."""
    try:
        return look()
    except OSError as error:
        return [not_examined(name, subject, f"it cannot be read ({error.strerror or type(error).__name__})")]


def load_config_or_default(options: DoctorOptions) -> tuple[Config, str]:
    """Returns the configuration, or the default one and the error."""
    flags = {"line": {"port": options.line}}
    try:
        return load_config(flags, options.environ, options.config_file, options.root / "etc"), ""
    except ConfigError as error:
        default = Config()
        return replace(default, line=replace(default.line, port=options.line)), str(error)


async def _examine_ports(options: DoctorOptions, config: Config, daemons: list[DaemonReading]) -> list[Examination]:
    readings = _read_ports(options, config, daemons)
    found: list[Examination] = []
    for reading in readings:
        found += examine_port(reading)
        if options.loopback:
            found.append(await _examine_loopback(reading))
    found += [] if readings else examine_no_port()
    found += [] if options.loopback else [line_test.examine_no_loopback("")]
    found.append(await _examine_print(options, config, readings, daemons))
    return found


async def _examine_loopback(reading: PortReading) -> Examination:
    port = reading.port
    if reading.problem:
        return line_test.examine_no_loopback(port, "the line is not there")
    if reading.daemon_pid is not None or reading.holders:
        return line_test.examine_no_loopback(port, f"{_HELD}, and its machine would print the text")
    return line_test.examine_loopback(port, await line_test.read_loopback(port))


async def _examine_print(
    options: DoctorOptions, config: Config, readings: list[PortReading], daemons: list[DaemonReading]
) -> Examination:
    if not options.print_test:
        return line_test.examine_no_print()
    answering = {daemon.pid for daemon in daemons if daemon.outcome == "answered"}
    if any(
        {reading.daemon_pid, *(holder.pid for holder in reading.holders)} - answering - {None} for reading in readings
    ):
        return line_test.examine_no_print(f"{_HELD}, which this command may not ask")
    return await line_test.print_test_page(config)


def _read_ports(options: DoctorOptions, config: Config, daemons: list[DaemonReading]) -> list[PortReading]:
    pids = {os.path.realpath(daemon.line): daemon.pid for daemon in daemons if daemon.line}
    lines = [daemon.line for daemon in daemons if daemon.line]
    ports = [options.line] if options.line else choose_ports(config.line.port, lines, options.root)
    return [_read_port(port, pids.get(os.path.realpath(port)), options.root) for port in ports]


def _read_port(port: str, daemon_pid: int | None, root: Path) -> PortReading:
    try:
        return read_port(port, daemon_pid, root)
    except OSError as error:  # it was unplugged between two looks
        return PortReading(port, "", "", problem=f"it cannot be read ({error.strerror or type(error).__name__})")


async def _examine_models(
    options: DoctorOptions, config: Config, config_file: str, on_stage: OnStage
) -> list[Examination]:
    found, edit = [], config_file or "/etc/asr33/config.toml"
    if config.model.key_file:
        found.append(examine_key_file(read_key_file(config.model.key_file)))
    for url in list_servers(config.model):
        on_stage("the model server")
        found.append(examine_server(await read_server(url, config.model), edit))
    if not list_servers(config.model):
        found.append(not_examined("model server", "", "the model is on this computer"))
    is_remote = is_url(config.model.name) and all(map(is_url, config.model.otherwise))
    engine = Unread("the model is on a server") if is_remote else None
    on_stage("the engine")
    found += _look("engine", "", lambda: examine_engine(engine or read_engine(options.root)))
    for name in list_local_models(config.model):
        on_stage(f"the files of the model {name}")
        found.append(examine_model_files(read_model_files(name)))
    return found
