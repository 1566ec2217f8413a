"""Settings: flags over environment over files over defaults, into frozen dataclasses; an unknown one is an error.

Files are TOML, read in this order, a later one over an earlier: /etc/asr33/config.toml,
$XDG_CONFIG_HOME/asr33/config.toml, $CONFIGURATION_DIRECTORY/config.toml (systemd's), and the one named by
--config. In the environment, [answer] length is ASR33_ANSWER_LENGTH.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cattrs import ClassValidationError, Converter

from daemon.errors import ConfigError
from model.base import RANGES, THREADS, Sampling

DEFAULTS = Sampling()


@dataclass(frozen=True, slots=True)
class LineConfig:
    """[line]: the machine's wire."""

    port: str | None = None
    columns: int = 72  # Bulletin 310B 574-100-101TC: 72 characters a line


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """[model]: what answers. `threads` 0 leaves the choice to the machine."""

    name: str = "embedded"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """[answer]: how it is drawn, and where it ends: at a sentence near `length` characters.

    Without a seed one is drawn for the session, and logged.
    """

    length: int = 600
    max_tokens: int = DEFAULTS.max_tokens
    temperature: float = DEFAULTS.temperature
    top_k: int = DEFAULTS.top_k
    top_p: float = DEFAULTS.top_p
    repetition_penalty: float = DEFAULTS.repetition_penalty
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log]: where sessions are kept."""

    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    line: LineConfig = field(default_factory=LineConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)
    log: LogConfig = field(default_factory=LogConfig)


NO_SETTINGS = {"ASR33_MODELS"}  # where models are kept: the store reads it
Settings = dict[str, dict[str, Any]]
SECTIONS: dict[str, type] = {"line": LineConfig, "model": ModelConfig, "answer": AnswerConfig, "log": LogConfig}
# What lies beyond would be refused later, in worse words.
BOUNDS: dict[tuple[str, str], tuple[float, float]] = {
    ("line", "columns"): (20, 132),
    ("model", "threads"): THREADS,
    **{("answer", name): bounds for name, bounds in RANGES.items()},
}


def load(
    flags: Settings, environ: Mapping[str, str] = os.environ, named: Path | None = None, system: Path = Path("/etc")
) -> Config:
    """The settings in force. Raises ConfigError with the file, the line and the nearest known word."""
    merged: Settings = {}
    for path in _files(environ, named, system):
        _lay_over(merged, _read(path))
    _lay_over(merged, _from_environment(environ))
    for section, values in flags.items():
        given = {key: value for key, value in values.items() if value is not None}
        _lay_over(merged, {section: _check(section, given, "the command line")})
    return Config(**{section: SECTIONS[section](**values) for section, values in merged.items()})


def log_folder(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Where sessions are kept: the setting, or systemd's $LOGS_DIRECTORY, or the user's state folder."""
    if config.log.folder is not None:
        return config.log.folder.expanduser()
    if "LOGS_DIRECTORY" in environ:
        return Path(environ["LOGS_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "asr33" / "sessions"
    home = _home()
    if home is None:
        raise ConfigError("this user has no home to keep sessions in: name a folder with --log")
    return home / ".local/state/asr33/sessions"


def _files(environ: Mapping[str, str], named: Path | None, system: Path) -> Sequence[Path]:
    home = _home()
    user = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home and home / ".config"
    found = [system / "asr33/config.toml"]
    if user is not None:
        found.append(user / "asr33/config.toml")
    if "CONFIGURATION_DIRECTORY" in environ:
        found.append(Path(environ["CONFIGURATION_DIRECTORY"].split(":")[0]) / "config.toml")
    found = [path for path in found if _is_there(path)]
    return found if named is None else [*found, named]


def _home() -> Path | None:
    """None for a user that the system does not know, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of somebody else's
        return False


def _read(path: Path) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; --config wants a TOML file that can be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    settings: Settings = {}
    for section, values in table.items():
        where = f"{path}:{_line_of(text, section, None)}"
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: {section!r} stands outside a section; the sections are {_list(SECTIONS)}")
        settings[section] = _check(section, values, where, lambda key, s=section: f"{path}:{_line_of(text, s, key)}")
    return settings


def _from_environment(environ: Mapping[str, str]) -> Settings:
    settings: Settings = {}
    for name, value in environ.items():
        if name.startswith("ASR33_") and name not in NO_SETTINGS:
            section, _, key = name.removeprefix("ASR33_").lower().partition("_")
            checked = _check(section, {key: _literal(section, key, value)}, f"${name}")
            _lay_over(settings, {section: checked})
    return settings


def _literal(section: str, key: str, value: str) -> Any:
    """An environment variable is text; where a number is wanted, and it is one, it becomes that."""
    kinds = {item.name: str(item.type) for item in fields(SECTIONS[section])} if section in SECTIONS else {}
    for name, kind in (("int", int), ("float", float)):
        if name in kinds.get(key, "").split(" | "):
            with contextlib.suppress(ValueError):
                return kind(value)
    return value


def _check(section: str, values: Mapping[str, Any], where: str, where_of: Any = None) -> dict[str, Any]:
    if section not in SECTIONS:
        raise ConfigError(f"{where}: unknown section [{section}]{_did_you_mean(section, SECTIONS)}")
    known = [known.name for known in fields(SECTIONS[section])]
    checked = {}
    for key, value in values.items():
        place = where_of(key) if where_of else where
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r} in [{section}]{_did_you_mean(key, known)}")
        checked[key] = _typed(section, key, value, place)
    return checked


def _typed(section: str, key: str, value: Any, place: str) -> Any:
    try:
        typed = getattr(_converter.structure({key: value}, SECTIONS[section]), key)
    except ClassValidationError as error:
        raise ConfigError(f"{place}: [{section}] {key}: {error.exceptions[0]}") from None
    least, most = BOUNDS.get((section, key), (None, None))
    if least is not None and most is not None and typed is not None and not least <= typed <= most:
        raise ConfigError(f"{place}: [{section}] {key} = {value}: must be from {least:,} to {most:,}")
    return typed


def _exactly(kind: type, also: type | None = None) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (kind, also or kind)):
            raise ValueError(f"{value!r} is not {_WORDS[kind]}")
        return kind(value)

    return structure


_WORDS = {int: "a whole number", float: "a number", str: 'a text in "quotes"', Path: "a path"}
_converter = Converter()
_converter.register_structure_hook(int, _exactly(int))
_converter.register_structure_hook(float, _exactly(float, int))
_converter.register_structure_hook(str, _exactly(str))
_converter.register_structure_hook(Path, _exactly(Path, str))


def _lay_over(below: Settings, above: Settings) -> None:
    for section, values in above.items():
        below.setdefault(section, {}).update(values)


def _line_of(text: str, section: str, key: str | None) -> int:
    """The line of a file on which a section, or a key in it, is named."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[\s*([^]]+?)\s*\]", line)
        if heading:
            inside = heading[1].strip("\"'") == section
        name = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if key is None and (inside or (name and name[1].split(".")[0] == section)):
            return number
        if key is not None and inside and name and name[1] == key:
            return number
    return 1


def _did_you_mean(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {_list(known)}"


def _list(words: Any) -> str:
    return ", ".join(words)
