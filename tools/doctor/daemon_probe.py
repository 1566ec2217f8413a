"""Asks the running daemons over their control sockets, and finds those of other users among the processes."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from daemon import paths
from daemon.config_parser import OTHER_VARIABLES
from daemon.control import protocol
from daemon.control.client import DaemonConnection
from daemon.errors import DaemonError
from tools.doctor.daemon_findings import ConfigurationOrigin, DaemonReading
from tools.doctor.finding import Unread
from tools.doctor.line_probe import user_name

ANSWER_TIMEOUT_S = 5.0
_PEER_FORMAT = "3i"  # struct ucred of unix(7): pid, uid, gid
ResponseT = TypeVar("ResponseT", bound=protocol.ControlResponse)

_PROGRAMS = ("asr33", "tools.main")
_FILE_OPTIONS = ("--config", "--machine")
_OWN_OPTIONS = ("--line", *_FILE_OPTIONS)  # what they set is compared as line and files


async def read_daemons(root: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> list[DaemonReading]:
    """Returns what each daemon of this computer answers, also those of other users that do not answer us."""
    readings = []
    for path in _list_sockets(root):
        if (reading := await _ask(path, root, timeout_s)) is not None:
            readings.append(reading)
    known = {reading.pid for reading in readings}
    for pid, words in list_daemon_processes(root / "proc"):
        uid = _owner_of(root / "proc" / str(pid))
        if pid not in known and uid is not None and uid != os.geteuid():
            # A denied socket does not tell its process.
            readings = [reading for reading in readings if reading.pid is not None or reading.user != user_name(uid)]
            readings.append(DaemonReading("denied", pid, user_name(uid), is_own=False, line=_value_of(words, "--line")))
    return readings


def read_own_origin(config_file: Path | None, environ: Mapping[str, str], root: Path) -> ConfigurationOrigin:
    """Returns where the configuration of the caller's commands comes from."""
    return _find_origin(environ, [config_file] if config_file else [], (), root)


def _list_sockets(root: Path) -> list[Path]:
    found: list[Path] = []
    folders = [*paths.socket_folders(os.environ, root / "run")]
    if os.geteuid() == 0:  # who may ask the daemons of all users
        folders += sorted((root / "run/user").glob("*/asr33"))
    for folder in folders:
        try:
            if folder.is_relative_to(tempfile.gettempdir()) and folder.stat().st_uid not in (os.getuid(), 0):
                continue  # another user may have made the folder
            found += sorted(path for path in folder.iterdir() if path.suffix == ".sock")
        except OSError:
            continue
    return list(dict.fromkeys(found))


async def _ask(path: Path, root: Path, timeout_s: float) -> DaemonReading | None:
    """Returns what the daemon answers; None for the socket of one that was killed."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path, limit=protocol.MAX_LINE_BYTES)
    except PermissionError:
        return DaemonReading("denied", None, _user_of(path), is_own=False)
    except TimeoutError:
        return DaemonReading("silent", None, _user_of(path), is_own=True)
    except OSError:
        return None
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_PEER_FORMAT)
    )
    pid, uid, _ = struct.unpack(_PEER_FORMAT, credentials)
    connection, user, is_own = DaemonConnection(reader, writer), user_name(uid), uid == os.geteuid()
    try:
        async with asyncio.timeout(timeout_s):
            report = await connection.fetch_status()
            jobs = await _request_or_why(connection, protocol.ListJobs(), protocol.SpoolReport)
            paper = await _request_or_why(connection, protocol.ChangePaper(), protocol.PaperReport)
    except (OSError, DaemonError, TimeoutError, ValueError):
        return DaemonReading("silent", pid, user, is_own)
    finally:
        await connection.close()
    held = (
        [] if isinstance(jobs, Unread) else [int(job.get("id", 0)) for job in jobs.jobs if job.get("state") == "held"]
    )
    return DaemonReading(
        "answered",
        pid,
        user,
        is_own,
        report.line,
        report.doing,
        report.status,
        jobs if isinstance(jobs, Unread) else jobs.blocked,
        tuple(held),
        paper if isinstance(paper, Unread) else paper.lines_left,
        _read_origin(pid, root),
    )


async def _request_or_why(
    connection: DaemonConnection, request: protocol.SpoolRequest, kind: type[ResponseT]
) -> ResponseT | Unread:
    try:
        return await connection.request(request, kind)
    except DaemonError as error:
        return Unread(str(error))


def _read_origin(pid: int, root: Path) -> ConfigurationOrigin | Unread:
    folder = root / "proc" / str(pid)
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        variables = (folder / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
        working_folder = (folder / "cwd").readlink()
    except OSError as error:
        return Unread(f"/proc does not tell ({error.strerror})")
    environ = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    if environ.get("HOME"):
        environ.setdefault("XDG_CONFIG_HOME", f"{environ['HOME']}/.config")
    files = [working_folder / value for option in _FILE_OPTIONS if (value := _value_of(words, option))]
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return _find_origin(environ, files, [name for name in options if name not in _OWN_OPTIONS], root)


def _find_origin(
    environ: Mapping[str, str], further_files: Sequence[Path], options: Sequence[str], root: Path
) -> ConfigurationOrigin:
    names = ("config.toml", paths.MACHINE_FILE)
    files = [folder / name for folder in paths.config_folders(environ, root / "etc") for name in names]
    there = [os.path.realpath(file) for file in files if _is_file(file)]
    there += [os.path.realpath(file) for file in further_files]
    variables = {
        name: value for name, value in environ.items() if name.startswith("ASR33_") and name not in OTHER_VARIABLES
    }
    return ConfigurationOrigin(tuple(dict.fromkeys(there)), variables, tuple(options))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of another user
        return False


def list_daemon_processes(proc: Path) -> list[tuple[int, list[str]]]:
    """Returns the process and the words of each `asr33 run` on this computer."""
    found = []
    for folder in sorted(proc.glob("[0-9]*")):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        for number, word in enumerate(words[:5]):
            if Path(word).name in _PROGRAMS and words[number + 1 : number + 2] == ["run"]:
                found.append((int(folder.name), words))
                break
    return found


def _owner_of(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _user_of(path: Path) -> str:
    uid = _owner_of(path)
    return "an unknown user" if uid is None else user_name(uid)


def _value_of(words: Sequence[str], option: str) -> str:
    """Returns the value of an option, as `--line PORT` or `--line=PORT`."""
    for number, word in enumerate(words):
        if word == option and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""
