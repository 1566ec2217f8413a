"""Settings: flags over environment over files over defaults, into frozen dataclasses; an unknown one is an error.

Files are TOML, read in this order, a later one over an earlier: config.toml and machine.toml in /etc/asr33, in
$XDG_CONFIG_HOME/asr33 and in $CONFIGURATION_DIRECTORY (systemd's), then the one named by --config. machine.toml is
what `asr33 calibrate` writes, and has [machine] alone; --machine names another in place of all of them, read last.
In the environment, [answer] length is ASR33_ANSWER_LENGTH.
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
from typing import Any, Literal, get_args, get_origin, get_type_hints

from daemon import paths
from daemon.config_values import parse_value
from daemon.errors import ConfigError
from daemon.speakers import ConversationConfig
from drivers import profile
from drivers.profile import Profile
from model import interface
from model.interface import THREAD_RANGE, Sampling
from model.store import default_model

BreakMarking = Literal["auto", "on", "off"]

SAMPLING_DEFAULTS = Sampling()


@dataclass(frozen=True, slots=True)
class LineConfig:
    """[line]: the machine's wire.

    `marking` is off for a program at the far end that does not double its FF.
    """

    port: str | None = None
    marking: BreakMarking = "auto"
    self_test: bool = True
    reconnect: bool = True

    @property
    def break_is_marked(self) -> bool | None:
        """Whether BREAK comes marked among the bytes; None lets the kind of line decide."""
        return None if self.marking == "auto" else self.marking == "on"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """[model]: what answers, and where: a NAME, a PATH or a URL. `threads` 0 and `device` auto: as the machine likes.

    Where no name is set it is the one that `asr33 model use` chose. `otherwise` are asked in turn where a server does
    not answer: other servers, and at last maybe a model here. `allow_plain` lets the key go over plain http anywhere.
    """

    name: str = field(default_factory=default_model.get_default)
    threads: int = 0
    device: interface.DeviceChoice = "auto"
    otherwise: tuple[str, ...] = ()
    key_file: Path | None = None
    ca_file: Path | None = None
    allow_plain: bool = False
    first_token_s: float = 120.0


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """[answer]: how it is drawn, and where it ends: at a sentence near `length` characters.

    Without a seed one is drawn for the session, and logged.
    """

    length: int = 600
    max_tokens: int = SAMPLING_DEFAULTS.max_tokens
    temperature: float = SAMPLING_DEFAULTS.temperature
    top_k: int = SAMPLING_DEFAULTS.top_k
    top_p: float = SAMPLING_DEFAULTS.top_p
    min_p: float = SAMPLING_DEFAULTS.min_p
    repetition_penalty: float = SAMPLING_DEFAULTS.repetition_penalty
    no_repeat_ngram: int = SAMPLING_DEFAULTS.no_repeat_ngram
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log]: where sessions are kept."""

    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    line: LineConfig = field(default_factory=LineConfig)
    machine: Profile = field(default_factory=Profile)
    model: ModelConfig = field(default_factory=ModelConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)
    conversation: ConversationConfig = field(default_factory=ConversationConfig)
    log: LogConfig = field(default_factory=LogConfig)


OTHER_VARIABLES = {"ASR33_MODELS", "ASR33_CORPORA"}  # where models and corpora are kept
Settings = dict[str, dict[str, Any]]
SECTIONS: dict[str, type] = {
    "line": LineConfig,
    "machine": Profile,
    "model": ModelConfig,
    "answer": AnswerConfig,
    "conversation": ConversationConfig,
    "log": LogConfig,
}
MOVED_KEYS = {("line", "columns"): "it is in [machine] now"}
# What lies beyond would be refused later, in worse words.
BOUNDS: dict[tuple[str, str], tuple[float, float]] = {
    ("model", "threads"): THREAD_RANGE,
    ("model", "first_token_s"): (1, 86_400),
    **{("machine", name): bounds for name, bounds in profile.RANGES.items()},
    **{("answer", name): bounds for name, bounds in interface.SAMPLING_RANGES.items()},
}


def load_config(
    flags: Settings,
    environ: Mapping[str, str] = os.environ,
    config_file: Path | None = None,
    system_folder: Path = Path("/etc"),
    machine_file: Path | None = None,
) -> Config:
    """The settings in force. Raises ConfigError with the file, the line and the nearest known word."""
    merged: Settings = {}
    for path in _config_files(environ, config_file, machine_file, system_folder):
        alone = path == machine_file or path.name == paths.MACHINE_FILE
        _merge_settings(merged, _read_config_file(path, ("machine",) if alone else tuple(SECTIONS)))
    _merge_settings(merged, _settings_from_environment(environ))
    for section, table in flags.items():
        given = {key: value for key, value in table.items() if value is not None}
        _merge_settings(merged, {section: _check_section(section, given, "the command line")})
    config = Config(**{section: SECTIONS[section](**values) for section, values in merged.items()})
    if config.machine.motor == "command" and not (config.machine.motor_on and config.machine.motor_off):
        raise ConfigError('[machine] motor = "command": motor_on and motor_off must say which commands')
    return config


def resolve_log_folder(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Where sessions are kept: the setting, or systemd's $LOGS_DIRECTORY, or the user's state folder."""
    if config.log.folder is not None:
        return config.log.folder.expanduser()
    folder = paths.session_folder(environ)
    if folder is None:
        raise ConfigError("this user has no home to keep sessions in: name a folder with --log")
    return folder


def _config_files(
    environ: Mapping[str, str], config_file: Path | None, machine_file: Path | None, system_folder: Path
) -> Sequence[Path]:
    names = ("config.toml", paths.MACHINE_FILE) if machine_file is None else ("config.toml",)
    found = [folder / name for folder in paths.config_folders(environ, system_folder) for name in names]
    return [*filter(_file_exists, found), *(path for path in (config_file, machine_file) if path is not None)]


def _file_exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of somebody else's
        return False


def _read_config_file(path: Path, sections: Sequence[str]) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; settings are read from a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    settings: Settings = {}
    for section, values in table.items():
        where = f"{path}:{_find_line_number(text, section, None)}"
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: {section!r} stands outside a section; the sections are {_join(sections)}")
        if section in SECTIONS and section not in sections:
            raise ConfigError(f"{where}: a file of a machine has no [{section}], only [machine]: put it in config.toml")
        settings[section] = _check_section(
            section, values, where, lambda key, s=section: f"{path}:{_find_line_number(text, s, key)}"
        )
    return settings


def _settings_from_environment(environ: Mapping[str, str]) -> Settings:
    settings: Settings = {}
    for name, value in environ.items():
        if name.startswith("ASR33_") and name not in OTHER_VARIABLES:
            section, _, key = name.removeprefix("ASR33_").lower().partition("_")
            checked = _check_section(section, {key: _parse_variable(section, key, value)}, f"${name}")
            _merge_settings(settings, {section: checked})
    return settings


def _parse_variable(section: str, key: str, value: str) -> Any:
    """An environment variable is text; where a number or true or false is wanted, and it is that, it becomes that."""
    hint = get_type_hints(SECTIONS[section]).get(key) if section in SECTIONS else None
    kinds = (hint,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
    if any(get_origin(kind) is tuple for kind in kinds):
        return value.split()
    if bool in kinds:
        return {"true": True, "false": False}.get(value.lower(), value)
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(value)
    return value


def _check_section(section: str, values: Mapping[str, Any], location: str, key_location: Any = None) -> dict[str, Any]:
    if section not in SECTIONS:
        raise ConfigError(f"{location}: unknown section [{section}]{_did_you_mean(section, SECTIONS)}")
    known = [known.name for known in fields(SECTIONS[section])]
    checked = {}
    for key, value in values.items():
        place = key_location(key) if key_location else location
        if (section, key) in MOVED_KEYS:
            raise ConfigError(f"{place}: no key {key!r} in [{section}]; {MOVED_KEYS[section, key]}")
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r} in [{section}]{_did_you_mean(key, known)}")
        checked[key] = _parse_within_bounds(section, key, value, place)
    return checked


def _parse_within_bounds(section: str, key: str, value: Any, location: str) -> Any:
    try:
        found = parse_value(SECTIONS[section], key, value)
    except ValueError as error:
        raise ConfigError(f"{location}: [{section}] {key}: {error}") from None
    least, most = BOUNDS.get((section, key), (None, None))
    if least is not None and most is not None and found is not None and not least <= found <= most:
        raise ConfigError(f"{location}: [{section}] {key} = {value}: must be from {least:,} to {most:,}")
    return found


def _merge_settings(settings: Settings, overrides: Settings) -> None:
    for section, values in overrides.items():
        settings.setdefault(section, {}).update(values)


def _find_line_number(text: str, section: str, key: str | None) -> int:
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
    return f"; did you mean {near[0]!r}?" if near else f"; there are {_join(known)}"


def _join(words: Any) -> str:
    return ", ".join(words)
