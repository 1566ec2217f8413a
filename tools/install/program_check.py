"""Whether the services can read the program that their units start: interpreter, modules, the folders above them."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.cli.errors import ToolError

SERVICE_USER = "asr33"
# ProtectHome= and PrivateTmp= of the units hide these from the services, with any mode.
HIDDEN_FOLDERS = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
_CURE = (
    "install it into /opt: sudo python3 -m venv /opt/asr33 && sudo /opt/asr33/bin/pip install 'asr33[cpu]', "
    "then sudo /opt/asr33/bin/asr33 install"
)


def find_own_program() -> Path:
    """Returns the path of the `asr33` that runs. Raises ToolError for a program that was started in another way."""
    for path in (Path(sys.executable).with_name("asr33"), Path(sys.argv[0])):
        if path.name == "asr33" and path.is_file():
            return path.absolute()
    raise ToolError("this asr33 was started as a module: name the program that units start, --program PATH", "usage")


def paths_of_own_program(program: Path) -> list[Path]:
    """Returns what the service needs to start the running program."""
    import_folders = [Path(folder) for folder in sys.path if folder and Path(folder).exists()]
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]]
    return [program, Path(sys.executable), *prefixes, *import_folders]


def check_readable(paths: Iterable[Path], root: Path = Path("/"), hidden: Iterable[str] = HIDDEN_FOLDERS) -> None:
    """Raises ToolError, with the cure, for the first path in the root that the service user cannot read."""
    for path in paths:
        for name in dict.fromkeys((path, _resolve_in(root, path))):
            reason = _find_obstacle(root, name, tuple(hidden))
            if reason is not None:
                raise ToolError(
                    f"the user {SERVICE_USER} of the services cannot read {name} ({reason}): {_CURE}", "denied"
                )


def _resolve_in(root: Path, path: Path) -> Path:
    """Returns the path without links, as it is called in the root."""
    target = (root / path.relative_to("/")).resolve()
    return Path("/") / target.relative_to(root.resolve()) if target.is_relative_to(root.resolve()) else path


def _find_obstacle(root: Path, path: Path, hidden: tuple[str, ...]) -> str | None:
    for folder in hidden:
        if path.is_relative_to(folder):
            return f"the units hide {folder}"
    for part in (*reversed(path.parents[:-1]), path):
        try:
            status = (root / part.relative_to("/")).stat()
        except OSError as error:
            return f"{part}: {error.strerror}"
        wanted = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
        wanted = 0o1 if part != path and stat.S_ISDIR(status.st_mode) else wanted
        mode = status.st_mode >> 6 if status.st_uid == _service_uid() else status.st_mode
        if mode & wanted != wanted:
            return f"{part} has mode {stat.S_IMODE(status.st_mode):o}"
    return None


def _service_uid() -> int | None:
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        return None


def check_user(root: Path, command: str) -> None:
    """Raises ToolError unless the user may write to the system; a folder given by --root is the user's affair."""
    if root == Path("/") and os.geteuid() != 0:
        program = Path(sys.argv[0]).absolute() if Path(sys.argv[0]).name == "asr33" else "asr33"
        raise ToolError(f"asr33 {command} writes to folders of the system: sudo {program} {command}", "denied")
