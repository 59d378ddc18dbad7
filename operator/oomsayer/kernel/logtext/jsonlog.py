"""Messages in a line of JSON: as journals, log agents and clouds export them, each by keys of its own."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_PLAIN_KEYS = ("short_message", "line", "_raw", "Output", "stdout", "StandardOutputContent")
"""Under which other tools have numbers and names too."""
_MESSAGE_KEYS = (
    "MESSAGE",
    "message",
    "textPayload",
    "log",
    "msg",
    "LogMessage",
    "SyslogMessage",
    "@message",
    "body",
    *_PLAIN_KEYS,
)
"""Under which a record has its message; one with none of these is searched for texts."""
_TEXT = r"\s|kill:constraint="
"""In what is a message rather than a name or a number: of a kernel's words only the summary has no blank."""
_OF_THE_KERNEL = r"\[\s*\d{1,10}\]\s+-?\d|[Kk]ill|oom"
"""Of a line in front of JSON: then that is the message, and the JSON what an application adds."""
_QUOTED = (
    rf"\s*(?:- +)?(?:\"(?:{'|'.join(map(re.escape, _MESSAGE_KEYS))})\"\s*:\s*)?"
    r"(\"(?:[^\"\\]|\\.)*\")[\s,;)\]]*$"
)
"""A line of a record that is spread over several, or of a list of texts."""
_HOST_KEYS = (
    "_HOSTNAME",
    "hostname",
    "host",
    "Computer",
    "HostName",
    "node_name",
    "instance_id",
    "@logStream",
    "logStreamName",
)
_UPTIME_KEYS = ("_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP")
_DEEPEST = 8


class Message(NamedTuple):
    """What a record says.

    Attributes:
        text: one line or many.
        host: who said it, "" where that is not told.
        seconds: since boot, None where not told.
    """

    text: str
    host: str = ""
    seconds: float | None = None


def json_messages(text: str) -> list[Message] | None:
    """The messages in a line that is JSON, whatever stands before it; None for any other line."""
    if '"' not in text:
        return None
    import json  # noqa: PLC0415 - few logs need it

    quoted = re.match(_QUOTED, text)
    line = text.rstrip(" \t,")
    with suppress(ValueError, RecursionError):
        if quoted:
            return [Message(_encodable(json.loads(quoted[1])))]
    begins = {line.find("{"), line.find("[")} - {-1} if line[-1:] in {"}", "]"} else ()
    for begin in sorted(begins):
        before = line[:begin]
        if re.search(_OF_THE_KERNEL, before):
            return None
        with suppress(ValueError, RecursionError):
            record = json.loads(line[begin:])
            found = _messages(record, "", None, by_key=bool(before.strip()), depth=0)
            return [Message(_encodable(m.text), _encodable(m.host), m.seconds) for m in found] or None
    return None


def _encodable(text: str) -> str:
    """A text without halves of characters, which JSON may have and nothing can print."""
    return text.encode("utf-8", "backslashreplace").decode()


def _messages(
    value: object, host: str, seconds: float | None, *, by_key: bool, depth: int
) -> Iterator[Message]:
    """Those in a value, in its own order: of each record its message, else all that looks like text.

    Args:
        value: as parsed.
        host: who said what is around it.
        seconds: since boot, likewise.
        by_key: take nothing but what a message's key names.
        depth: how deep it is.
    """
    if isinstance(value, str):
        if not by_key and re.search(_TEXT, value):
            yield Message(value, host, seconds)
        return
    inside: list[object] = value if isinstance(value, list) else []
    if isinstance(value, dict):
        host, seconds = host or _host(value), _uptime(value) or seconds
        message = _message(value)
        if message is not None:
            yield Message(message, host, seconds)
            return
        inside = list(value.values())
    if depth < _DEEPEST:
        for part in inside:
            yield from _messages(part, host, seconds, by_key=by_key, depth=depth + 1)


def _message(record: dict[str, object]) -> str | None:
    for key in _MESSAGE_KEYS:
        value = record.get(key)
        if isinstance(value, str) and (key not in _PLAIN_KEYS or re.search(_TEXT, value)):
            return value
        # journalctl writes a message that is no UTF-8 as a list of its bytes.
        if isinstance(value, list) and value and all(map(_is_byte, value)):
            return bytes(value).decode("utf-8", "backslashreplace")
    return None


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 256  # noqa: PLR2004 - what a byte holds


def _host(record: dict[str, object]) -> str:
    places: list[object] = [record]
    for key in ("resource", "labels", "kubernetes"):
        nested = record.get(key)
        places.append(nested)
        if isinstance(nested, dict):
            places.append(nested.get("labels"))
    for place in places:
        if isinstance(place, dict):
            for key in _HOST_KEYS:
                if isinstance(place.get(key), str):
                    return str(place[key])
    return ""


def _uptime(record: dict[str, object]) -> float | None:
    for key in _UPTIME_KEYS:
        value = record.get(key)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            return int(value) / 1e6
    return None
