"""What a shell completes after `asr33`: commands, actions and options, for bash, zsh and fish. Pure.

The scripts hold the words themselves: a key of TAB starts no Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tools.cli.reference import CommandReference

Commands = Mapping[str, Sequence[CommandReference]]


def make_completions(commands: Commands, summaries: Mapping[str, str]) -> dict[str, str]:
    """Returns the script of each shell by the shell's name."""
    return {
        "bash": "\n".join(_bash_lines(commands)) + "\n",
        "zsh": "\n".join(_zsh_lines(commands, summaries)) + "\n",
        "fish": "\n".join(_fish_lines(commands, summaries)) + "\n",
    }


def _options(command: CommandReference) -> list[tuple[str, str]]:
    """Returns each long option of a command with its meaning, also where it is an alias."""
    rows = [(option, text) for name, text in command.arguments for option in re.findall(r"--[a-z][\w-]*", name)]
    return [*rows, ("--help", "show the help of the command")]


def _actions(parts: Sequence[CommandReference]) -> list[tuple[str, str]]:
    return [(part.name.split()[-1], part.purpose) for part in parts[1:]]


def _words(pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join(word for word, _ in pairs)


def _bash_lines(commands: Commands) -> Iterator[str]:
    yield "# bash completion of asr33. Written by asr33 from its own options."
    yield "_asr33() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" words='
    yield "    if ((COMP_CWORD == 1)); then"
    yield f"        words='{' '.join(commands)} --help --version'"
    yield "    else"
    yield '        case "${COMP_WORDS[1]} $((COMP_CWORD == 2)) ${COMP_WORDS[2]}" in'
    for name, parts in commands.items():
        for action in parts[1:]:
            last = action.name.split()[-1]
            yield f"            '{name} 0 {last}') words='{_words(_options(action))}' ;;"
        words = " ".join(filter(None, [_words(_actions(parts)), _words(_options(parts[0]))]))
        yield f"            '{name} '*) words='{words}' ;;"
    yield "        esac"
    yield "    fi"
    yield '    [[ "$word" == -* || COMP_CWORD -eq 1 || "$words" != --* ]] || return'
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")'
    yield "}"
    yield "complete -o default -F _asr33 asr33"


def _zsh_lines(commands: Commands, summaries: Mapping[str, str]) -> Iterator[str]:
    yield "#compdef asr33"
    yield "# zsh completion of asr33. Written by asr33 from its own options."
    yield "local -a found"
    yield "if (( CURRENT == 2 )); then"
    yield f"    found=({_zsh_words(list(summaries.items()))})"
    yield "    _describe command found"
    yield "    return"
    yield "fi"
    yield 'case "$words[2] $(( CURRENT == 3 )) $words[3]" in'
    for name, parts in commands.items():
        for action in parts[1:]:
            yield f"    '{name} 0 {action.name.split()[-1]}') found=({_zsh_words(_options(action))}) ;;"
        yield f"    '{name} '*) found=({_zsh_words([*_actions(parts), *_options(parts[0])])}) ;;"
    yield "esac"
    yield "_describe -o option found || _files"


def _zsh_words(pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join(_quote(f"{word}:{text.replace(':', ';')}") for word, text in pairs)


def _fish_lines(commands: Commands, summaries: Mapping[str, str]) -> Iterator[str]:
    yield "# fish completion of asr33. Written by asr33 from its own options."
    for name, summary in summaries.items():
        yield f"complete -c asr33 -n __fish_use_subcommand -f -a {name} -d {_quote(summary)}"
    for name, parts in commands.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        for action, text in _actions(parts):
            unseen = (
                f"'__fish_seen_subcommand_from {name}; and not __fish_seen_subcommand_from {_words(_actions(parts))}'"
            )
            yield f"complete -c asr33 -n {unseen} -f -a {action} -d {_quote(text)}"
        for option, text in _options(parts[0]):
            yield f"complete -c asr33 -n {seen} -l {option[2:]} -d {_quote(text)}"
        for part in parts[1:]:
            both = f"'__fish_seen_subcommand_from {name}; and __fish_seen_subcommand_from {part.name.split()[-1]}'"
            for option, text in _options(part):
                yield f"complete -c asr33 -n {both} -l {option[2:]} -d {_quote(text)}"


def _quote(text: str) -> str:
    """Returns the text in single quotes, without characters that a shell would read in them."""
    return "'" + text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("\\", "/") + "'"
