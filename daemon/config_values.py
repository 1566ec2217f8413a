"""One value of a setting, as it was written -> as its kind wants it; nothing is guessed. The only door to cattrs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cattrs import ClassValidationError, Converter


def parse_value(section: type, key: str, value: Any) -> Any:
    """The value of a section's key. Raises ValueError, which says what is wanted."""
    try:
        return getattr(_converter.structure({key: value}, section), key)
    except ClassValidationError as error:
        raise ValueError(str(error.exceptions[0])) from None


def _structure_exactly(kind: type, also_accepted: type | None = None) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (kind, also_accepted or kind)):
            raise ValueError(f"{value!r} is not {_TYPE_NAMES[kind]}")
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


def _is_text_tuple(kind: Any) -> bool:
    return bool(kind == tuple[str, ...])


def _is_literal(kind: Any) -> bool:
    return bool(get_origin(kind) == Literal)


def _structure_literal(kind: Any) -> Callable[[Any, Any], Any]:
    words = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(json.dumps(word) for word in words)}")
        return value

    return structure


_TYPE_NAMES = {int: "a whole number", float: "a number", str: 'a text in "quotes"', Path: "a path"}
_converter = Converter()
_converter.register_structure_hook(int, _structure_exactly(int))
_converter.register_structure_hook(float, _structure_exactly(float, int))
_converter.register_structure_hook(str, _structure_exactly(str))
_converter.register_structure_hook(bool, _structure_bool)
_converter.register_structure_hook(Path, _structure_exactly(Path, str))
_converter.register_structure_hook_factory(_is_literal, _structure_literal)
_converter.register_structure_hook_func(_is_text_tuple, _structure_texts)
