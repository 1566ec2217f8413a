"""The manual pages, in the `man` format of roff: one for each command, and asr33.toml(5) for settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tools.cli.reference import EXIT_CODES, CommandReference, SettingReference

_CODE = re.compile(r"`([^`]*)`")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


def make_man_pages(
    commands: Mapping[str, Sequence[CommandReference]],
    summaries: Mapping[str, str],
    sections: Mapping[str, Sequence[SettingReference]],
    version: str,
    date: str,
) -> dict[str, str]:
    """Returns the text of each page by its file name, such as "asr33-run.1". `date`: YYYY-MM-DD."""
    pages = {"asr33.1": _main_page(summaries), "asr33.toml.5": _settings_page(sections)}
    pages |= {f"asr33-{name}.1": _command_page(name, summaries[name], parts) for name, parts in commands.items()}
    return {name: "\n".join([_title(name, version, date), *lines]) + "\n" for name, lines in sorted(pages.items())}


def _title(file_name: str, version: str, date: str) -> str:
    name, _, section = file_name.rpartition(".")
    manual = "User Commands" if section == "1" else "File Formats"
    return f'.TH {_escape(name.upper())} {section} {date} "asr33 {version}" "{manual}"'


def _main_page(summaries: Mapping[str, str]) -> Iterator[str]:
    yield from _name("asr33", "a GPT-2 at a Teletype Model 33: it answers on paper, ten characters a second")
    yield from (".SH SYNOPSIS", ".B asr33", r"\fICOMMAND\fR [\fIOPTION\fR ...]", ".SH COMMANDS")
    for name, summary in summaries.items():
        yield from (".TP", rf"\fBasr33\-{_escape(name)}\fR(1)", _text(summary))
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from (".TP", _text(code), _text(meaning))
    yield from (".SH FILES", ".TP", r"\fI/etc/asr33/config.toml\fR, \fI~/.config/asr33/config.toml\fR")
    yield _text("the configuration of the system and of the user")
    yield from (".SH SEE ALSO", r".BR asr33.toml (5)")


def _command_page(name: str, summary: str, parts: Sequence[CommandReference]) -> Iterator[str]:
    first, *actions = parts
    yield from _name(f"asr33-{name}", summary)
    yield from (".SH SYNOPSIS", f".B asr33 {_escape(name)}", _synopsis(first, has_actions=bool(actions)))
    yield from (".SH DESCRIPTION", _text(first.purpose), *_preformatted(first.details))
    if first.arguments:
        yield from (".SH OPTIONS", *_arguments(first))
    if actions:
        yield ".SH ACTIONS"
        for action in actions:
            yield from (f".SS {_escape(action.name)}", _text(action.purpose or action.name))
            yield from (*_preformatted(action.details), *_arguments(action), *_preformatted(action.epilog))
    if first.epilog:
        yield from (".SH NOTES", *_preformatted(first.epilog, is_first=True))
    yield from (".SH SEE ALSO", ".BR asr33 (1),", ".BR asr33.toml (5)")


def _synopsis(command: CommandReference, *, has_actions: bool) -> str:
    words = [rf"[\fI{_escape(name)}\fR ...]" for name, _ in command.arguments if not name.startswith("-")]
    options = [r"[\fIOPTION\fR ...]"] if any(name.startswith("-") for name, _ in command.arguments) else []
    return " ".join([*([r"\fIACTION\fR"] if has_actions else []), *options, *words]) or r"[\fB\-\-help\fR]"


def _settings_page(sections: Mapping[str, Sequence[SettingReference]]) -> Iterator[str]:
    yield from _name("asr33.toml", "the configuration of asr33")
    yield from (".SH DESCRIPTION", _text("The settings come from, in this order: options of the command; environment"))
    yield _text("variables `ASR33_SECTION_KEY`, such as `ASR33_ANSWER_LENGTH`; the file named by `--config`;")
    yield _text(
        "`config.toml` and `machine.toml` in `$CONFIGURATION_DIRECTORY`, in `~/.config/asr33` and in `/etc/asr33`."
    )
    yield _text("An unknown key is an error that names the nearest known one.")
    for section, settings in sections.items():
        yield f".SH [{_escape(section)}]"
        for setting in settings:
            facts = [setting.type, f"default {setting.default}", setting.range]
            yield from (".TP", rf"\fB{_escape(setting.key)}\fR", _text("; ".join(filter(None, facts)) + "."))
            yield from (".br", _text(setting.meaning))
    yield from (".SH SEE ALSO", ".BR asr33 (1)")


def _name(name: str, summary: str) -> Iterable[str]:
    return ".SH NAME", rf"{_escape(name)} \- {_text(summary)}"


def _arguments(command: CommandReference) -> Iterator[str]:
    for name, meaning in command.arguments:
        yield from (".TP", rf"\fB{_escape(name)}\fR", _text(meaning))


def _preformatted(text: str, *, is_first: bool = False) -> Iterator[str]:
    """Yields the lines as they stand; an empty line would begin a paragraph with another indent."""
    if text:
        yield from ([".nf"] if is_first else [".PP", ".nf"])
        yield from (_text(line) if line.strip() else ".sp" for line in text.splitlines())
        yield ".fi"


def _text(text: str) -> str:
    """Returns a line of text: code in bold, options with true minus signs, and nothing that roff would obey."""
    parts = []
    for number, part in enumerate(_CODE.split(text)):
        if number % 2:
            parts.append(rf"\fB{_escape(part)}\fR")
        else:
            escaped = _escape(part, is_code=False)
            parts.append(_OPTION.sub(lambda match: match[0].replace("-", r"\-"), escaped))
    line = "".join(parts)
    return rf"\&{line}" if line[:1] in (".", "'") else line


def _escape(text: str, *, is_code: bool = True) -> str:
    text = text.replace("\\", r"\[rs]")
    text = text.replace("-", r"\-") if is_code else text
    return "".join(character if character < "\x80" else rf"\[u{ord(character):04X}]" for character in text)
