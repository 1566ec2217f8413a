"""Reads settings from TOML files and environment variables and checks them against the sections' dataclasses.

An unknown section or key is an error that names the nearest known one; a value must have the type and the range of its
field. The sections are an argument. This is the only module that imports cattrs.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cattrs import ClassValidationError, Converter

from daemon.errors import ConfigError

Settings = dict[str, dict[str, Any]]
Sections = Mapping[str, type]

OTHER_VARIABLES = {"ASR33_MODELS", "ASR33_CORPORA"}  # folders of models and corpora: no settings
MAX_FILE_BYTES = 1 << 20
MOVED_KEYS = {("line", "columns"): "it is in [machine] now"}


def read_config_file(path: Path, sections: Sections, allowed: Sequence[str]) -> Settings:
    """Returns the checked settings of a TOML file that may have the allowed sections. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: over {MAX_FILE_BYTES:,} bytes; settings are read from a TOML file")
        text = raw.decode("utf-8").replace("\r\n", "\n")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; settings are read from a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    settings: Settings = {}
    for section, values in table.items():
        location = f"{path}:{_find_line_number(text, section, None)}"
        if not isinstance(values, dict):
            raise ConfigError(f"{location}: {section!r} is outside a section; the sections are {', '.join(allowed)}")
        if section in sections and section not in allowed:
            cure = "put it in config.toml"
            raise ConfigError(f"{location}: a file of a machine has no [{section}], only [machine]: {cure}")
        settings[section] = check_section(section, values, sections, location, path, text)
    return settings


def read_environment(environ: Mapping[str, str], sections: Sections) -> Settings:
    """Returns the checked settings of the variables ASR33_SECTION_KEY. Raises ConfigError."""
    settings: Settings = {}
    for name, value in environ.items():
        if name.startswith("ASR33_") and name not in OTHER_VARIABLES:
            section, _, key = name.removeprefix("ASR33_").lower().partition("_")
            values = {key: _parse_variable(sections.get(section), key, value)}
            merge_settings(settings, {section: check_section(section, values, sections, f"${name}")})
    return settings


def merge_settings(settings: Settings, overrides: Settings) -> None:
    for section, values in overrides.items():
        settings.setdefault(section, {}).update(values)


def check_section(
    section: str, values: Mapping[str, Any], sections: Sections, location: str, path: Path | None = None, text: str = ""
) -> dict[str, Any]:
    """Returns the parsed values of a section. Raises ConfigError with the location; `text`: of the TOML file `path`."""
    if section not in sections:
        raise ConfigError(f"{location}: unknown section [{section}]{_did_you_mean(section, sections)}")
    known = {item.name: item for item in fields(sections[section])}
    parsed = {}
    for key, value in values.items():
        place = location if path is None else f"{path}:{_find_line_number(text, section, key)}"
        if (section, key) in MOVED_KEYS:
            raise ConfigError(f"{place}: no key {key!r} in [{section}]; {MOVED_KEYS[section, key]}")
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r} in [{section}]{_did_you_mean(key, known)}")
        try:
            parsed[key] = parse_value(sections[section], key, value)
        except ValueError as error:
            raise ConfigError(f"{place}: [{section}] {key}: {error}") from None
        low, high = known[key].metadata.get("range", (None, None))
        if low is not None and parsed[key] is not None and not low <= parsed[key] <= high:
            raise ConfigError(f"{place}: [{section}] {key} = {value}: must be from {low:,} to {high:,}")
    return parsed


def parse_value(section: type, key: str, value: Any) -> Any:
    """Returns the value converted to the type of its field, such as a text to a path. Raises ValueError."""
    try:
        return getattr(_converter.structure({key: value}, section), key)
    except ClassValidationError as error:
        raise ValueError(str(error.exceptions[0])) from None


def _parse_variable(section: type | None, key: str, value: str) -> Any:
    """Returns the value of a variable as a number, a bool or a list of texts, if the field has that type."""
    hint = get_type_hints(section).get(key) if section is not None else None
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


def _find_line_number(text: str, section: str, key: str | None) -> int:
    """Returns the line of a TOML text that has the section, or the key in it."""
    is_inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[\s*([^]]+?)\s*\]", line)
        if heading:
            is_inside = heading[1].strip("\"'") == section
        name = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if key is None and (is_inside or (name and name[1].split(".")[0] == section)):
            return number
        if key is not None and is_inside and name and name[1] == key:
            return number
    return 1


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def _structure_exactly(kind: type, noun: str, *accepted: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (kind, *accepted)):
            raise ValueError(f"{value!r} is not {noun}")
        return kind(value)

    return structure


def _structure_bool(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _structure_texts(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(f'{value!r} is not a list of texts in "quotes"')
    return tuple(value)


def _is_literal(kind: Any) -> bool:
    return bool(get_origin(kind) == Literal)


def _structure_literal(kind: Any) -> Callable[[Any, Any], Any]:
    words = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(json.dumps(word) for word in words)}")
        return value

    return structure


_converter = Converter()
_converter.register_structure_hook(int, _structure_exactly(int, "a whole number"))
_converter.register_structure_hook(float, _structure_exactly(float, "a number", int))
_converter.register_structure_hook(str, _structure_exactly(str, 'a text in "quotes"'))
_converter.register_structure_hook(bool, _structure_bool)
_converter.register_structure_hook(Path, _structure_exactly(Path, "a path", str))
_converter.register_structure_hook_factory(_is_literal, _structure_literal)
_converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _structure_texts)
