"""The configuration: one frozen dataclass a section; each field has its help and its range in the metadata.

Files are TOML. A later one overrides an earlier one: config.toml and machine.toml in /etc/asr33, in
$XDG_CONFIG_HOME/asr33 and in $CONFIGURATION_DIRECTORY (systemd's), then the file of --config. machine.toml is written
by `asr33 calibrate` and has [machine] alone; --machine replaces all of them and is read last. Environment variables
override files ([answer] length is ASR33_ANSWER_LENGTH), and options override both.
"""
# ruff: noqa: RUF009 - `_setting` returns a field of a frozen dataclass

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from daemon import paths
from daemon.bridge_config import IrcConfig, MentionsConfig, MqttConfig
from daemon.bridge_config import setting as _setting
from daemon.config_parser import Settings, check_section, merge_settings, read_config_file, read_environment
from daemon.errors import ConfigError
from drivers.profile import Profile
from model.interface import (
    ANSWER_LENGTH,
    PARAMETERS,
    THREAD_RANGE,
    DeviceChoice,
    Opening,
    Sampling,
    SamplingParameters,
)
from model.store import default_model

BreakMarking = Literal["auto", "on", "off"]


def _of_sampling(name: str, **metadata: Any) -> dict[str, Any]:
    """Returns the metadata of a sampling parameter whose default differs here."""
    return {"help": PARAMETERS[name].help, "range": PARAMETERS[name].bounds, **metadata}


@dataclass(frozen=True, slots=True)
class LineConfig:
    """[line]: the connection to the machine."""

    port: str | None = _setting(
        None, "the line: /dev/ttyUSB0, a virtual machine's path, or socket://, telnet:// or rfc2217://HOST:PORT"
    )
    marking: BreakMarking = _setting("auto", "the line marks BREAK as FF 00 00 and doubles FF; auto: by its kind")
    self_test: bool = _setting(True, "test a real line at the start, for two seconds")
    reconnect: bool = _setting(True, "wait for a line that hung up, and go on in the same line of paper")

    @property
    def break_is_marked(self) -> bool | None:
        """Whether the line marks BREAK; None: as is usual for its kind."""
        return None if self.marking == "auto" else self.marking == "on"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """[model]: the model that answers, on this computer or on a server. `load_config` fills in an empty name."""

    name: str = _setting("", "name, path or URL of the model", default="the choice of `asr33 model use`, or `embedded`")
    threads: int = _setting(0, "processor threads; 0: as many as fit", range=THREAD_RANGE)
    device: DeviceChoice = _setting("auto", "device of a local model; auto: a GPU if present")
    otherwise: tuple[str, ...] = _setting((), "models to use if the server does not answer: URLs, last a local one")
    key_file: Path | None = _setting(None, "file with the API key for the servers")
    ca_file: Path | None = _setting(None, "file with the certificate authorities to trust")
    allow_plain: bool = _setting(False, "send the API key over plain http to any host")
    first_token_s: float = _setting(120.0, "seconds to wait for the first token of a server", range=(1, 86_400))


@dataclass(frozen=True, slots=True)
class AnswerConfig(SamplingParameters):
    """[answer]: how an answer is drawn and where it ends. The keys: `SamplingParameters` and these."""

    length: int = field(default=ANSWER_LENGTH, metadata=_of_sampling("length"))
    seed: int | None = field(default=None, metadata=_of_sampling("seed", default="drawn for each session"))
    header: bool = _setting(
        False, "print a line before each answer with its model, seed and temperature, and one after it with its pace"
    )
    ink: bool = _setting(False, "strike twice what the model was sure of: at most twice the time")
    mark_copied: bool = _setting(False, "underline words that are copied from the model's training text; see `.COPIED`")

    def make_sampling(
        self, seed: int, stop: tuple[str, ...], opening: Opening, *, length: int | None = None
    ) -> Sampling:
        """Returns the sampling of one answer, with its own seed; `length` if it is not that of [answer]."""
        values = {name: getattr(self, name) for name in PARAMETERS} | {"seed": seed}
        if length is not None:
            values["length"] = length
        return Sampling(**values, stop=stop, opening=opening)


@dataclass(frozen=True, slots=True)
class ConversationConfig:
    """[conversation]: the speakers."""

    persona: str | None = _setting(
        None,
        'speaker that answers, as in the model\'s corpus; "": the typed text is continued',
        default="the `--person` of the model's corpus, or none",
    )
    cue: str | None = _setting(
        None,
        "text before each conversation with a persona, which tells a model that knows no speakers how to answer",
        default="for a model of the hub a visitor's talk with Teletype, else none",
    )
    you: str = _setting(
        "", "speaker of the typed lines", default="the other speaker with most lines in the corpus, or `You`"
    )
    talk_turns: int = _setting(6, "turns of a talk of two personas (`.TALK ANN BOB`)", range=(1, 200))
    talk_length: int = _setting(
        200, "characters after which a turn of such a talk ends with its sentence", range=(20, 4_000)
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log]: the session logs."""

    folder: Path | None = _setting(
        None, "folder of the session logs", default="`$LOGS_DIRECTORY`, or `~/.local/state/asr33/sessions`"
    )
    input: bool = _setting(True, "keep what the operator types; false: for a public place")
    max_mb: int = _setting(0, "MB of all logs, over which the oldest are deleted; 0: no limit", range=(0, 10_000_000))
    max_days: int = _setting(0, "days after which a log is deleted; 0: never", range=(0, 36_500))


@dataclass(frozen=True, slots=True)
class CopyConfig:
    """[copy]: the carbon copy of the paper, without what is private."""

    line: str | None = _setting(None, "line of a second machine of the same kind, which prints all that the first does")
    file: Path | None = _setting(None, "text file to which the lines of the paper are appended")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """[web]: the live page of the paper, for browsers."""

    listen: str = _setting("", 'port, or ADDRESS:PORT, of the live page; "": there is no page')
    key_file: Path | None = _setting(None, "file with the keys to the page, one a line; other computers need one")
    typing: bool = _setting(False, "viewers may type a line, which is printed and answered")
    archive: bool = _setting(True, "the page plays the kept sessions")


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """[spool]: jobs of others, which print when the operator leaves the machine alone."""

    idle_s: float = _setting(10.0, "seconds without a key before a job prints", range=(0, 3600))
    keep: str = _setting("12h", 'age at which a job is no longer printed, such as "30m", "12h" or "7d"')
    quiet: tuple[str, ...] = _setting(
        (),
        'quiet hours in local time, such as ["22:00-07:00", "sat,sun 13:00-15:00"]; nothing of the spool prints then',
    )
    zone: str = _setting("", 'time zone of the quiet hours, such as "Europe/Berlin"', default="the computer's")
    person_hour: int = _setting(3_000, "characters of one person in any hour; 0: no limit", range=(0, 10**9))
    person_day: int = _setting(12_000, "characters of one person in any 24 hours; 0: no limit", range=(0, 10**9))
    source_hour: int = _setting(12_000, "characters of one source, such as irc, in any hour", range=(0, 10**9))
    source_day: int = _setting(60_000, "characters of one source in any 24 hours", range=(0, 10**9))
    allow: tuple[str, ...] = _setting((), 'who may print, such as ["irc/ada", "mail/*"]', default="all")
    deny: tuple[str, ...] = _setting((), 'who may not print, such as ["irc/bob"]; it goes before allow')


@dataclass(frozen=True, slots=True)
class HallConfig:
    """[hall]: a machine in a public place."""

    forget_after: float = _setting(
        0.0,
        "seconds of silence after which all is forgotten that a visitor said; 0: never",
        range=(0, 86_400),
    )
    tear_off: int = _setting(0, "lines of paper to feed after an answer, so that it can be torn off", range=(0, 60))
    address: bool = _setting(False, "strike the machine's address once after each boot, and when it changes")


@dataclass(frozen=True, slots=True)
class GameConfig:
    """[game]: guess the human (`.GUESS`)."""

    lines: Path | None = _setting(
        None, "text file with lines of people, of which those of 30 to 140 characters are used"
    )


@dataclass(frozen=True, slots=True)
class Config:
    line: LineConfig = field(default_factory=LineConfig)
    machine: Profile = field(default_factory=Profile)
    model: ModelConfig = field(default_factory=ModelConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)
    conversation: ConversationConfig = field(default_factory=ConversationConfig)
    log: LogConfig = field(default_factory=LogConfig)
    copy: CopyConfig = field(default_factory=CopyConfig)
    web: WebConfig = field(default_factory=WebConfig)
    spool: SpoolConfig = field(default_factory=SpoolConfig)
    hall: HallConfig = field(default_factory=HallConfig)
    game: GameConfig = field(default_factory=GameConfig)
    irc: IrcConfig = field(default_factory=IrcConfig)
    mentions: MentionsConfig = field(default_factory=MentionsConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)


SECTIONS: dict[str, type] = get_type_hints(Config)


def load_config(
    flags: Settings,
    environ: Mapping[str, str] = os.environ,
    config_file: Path | None = None,
    system_folder: Path = Path("/etc"),
    machine_file: Path | None = None,
) -> Config:
    """Returns the merged, checked settings. Raises ConfigError with the file, the line and the nearest known word."""
    merged: Settings = {}
    for path in _config_files(environ, config_file, machine_file, system_folder):
        has_machine_only = path == machine_file or path.name == paths.MACHINE_FILE
        merge_settings(merged, read_config_file(path, SECTIONS, ("machine",) if has_machine_only else tuple(SECTIONS)))
    merge_settings(merged, read_environment(environ, SECTIONS))
    for section, table in flags.items():
        options = {key: value for key, value in table.items() if value is not None}
        merge_settings(merged, {section: check_section(section, options, SECTIONS, "the command line")})
    config = Config(**{section: SECTIONS[section](**values) for section, values in merged.items()})
    if config.machine.motor == "command" and not (config.machine.motor_on and config.machine.motor_off):
        raise ConfigError('[machine] motor = "command": set the commands motor_on and motor_off')
    if not config.model.name:
        config = replace(config, model=replace(config.model, name=default_model.get_default()))
    return config


def resolve_log_folder(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the folder of the session logs: configured, $LOGS_DIRECTORY, or the user's state folder.

    Raises ConfigError for a user without a home.
    """
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
    standard = [folder / name for folder in paths.config_folders(environ, system_folder) for name in names]
    return [*filter(_file_exists, standard), *(path for path in (config_file, machine_file) if path is not None)]


def _file_exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of another user
        return False
