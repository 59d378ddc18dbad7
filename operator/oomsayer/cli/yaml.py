"""Plain data as YAML, with no library: what JSON can hold, in block style."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from oomsayer.cli.text import escaped

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
"""Strings that every YAML reader takes as strings without quotes, the words below aside."""
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
_INDENT = "  "


def dump(value: object) -> str:
    """A YAML document.

    Raises:
        TypeError: a value is none of dict, list, str, int, float, bool and None.
    """
    return "\n".join(_lines(value)) + "\n"


def _lines(value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{_string(str(key))}:", item)
    elif _is_list(value) and value:
        for item in value:
            lines = _lines(item)
            yield f"- {next(lines)}"
            yield from (_INDENT + line for line in lines)
    else:
        yield _flow(value)


def _entry(key: str, item: object) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield key
        yield from (_INDENT + line for line in _lines(item))
    elif _is_list(item) and item:
        yield key
        yield from _lines(item)
    else:
        yield f"{key} {_flow(item)}"


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _flow(value: object) -> str:
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{}"
    if _is_list(value):
        return "[]"
    raise TypeError(f"{type(value).__name__} has no form in YAML here")


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else escaped(c)) for c in text) + '"'


def _float(value: float) -> str:
    """YAML 1.1 takes 5e-324 for a string: its numbers with an exponent need a point."""
    mantissa, exponent, power = repr(value).partition("e")
    if exponent and "." not in mantissa:
        mantissa += ".0"
    return mantissa + exponent + power
