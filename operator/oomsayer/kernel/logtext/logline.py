r"""The kernel's own words in a line of any log: whatever was put in front of them is taken off.

dmesg in all its forms, journalctl (short, iso, json, export), /dev/kmsg, syslog of RFC 3164 and 5424,
consoles, container logs, and cloud exports that wrap a line in JSON. What looks like none of these is left
as it is.

Source: dmesg(1), journalctl(1), Documentation/ABI/testing/dev-kmsg, RFC 3164, RFC 5424, the CRI's log format.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from oomsayer.kernel.logtext.jsonlog import json_messages

_ESCAPED_END = r"(?:\\r)?\\n$"
"""The end of a line as consoles of Google's machines log it: two characters for each of its own."""
_STAMP = r"(?=\[ *\d{1,7}\.\d{6}\] )"
_RUN_TOGETHER_FROM = 512
"""Characters of a line from which on it may be several, whose line feeds were lost in a paste."""
_MOST_PREFIXES = 10
_DEEPEST_JSON = 4


class LogLine(NamedTuple):
    """One line of a log. A tuple, not a dataclass: logs have millions.

    Attributes:
        source: who wrote it, as far as the line tells (a host and a way of logging); lines of different
            sources never belong to one report. Empty for a bare line, which belongs to the one before.
        seconds: since boot, None where not shown.
        text: the kernel's message.
    """

    source: str
    seconds: float | None
    text: str


_ANSI = r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\^_])"
_LEVEL = (
    r"(?:kern|user|daemon|syslog|auth|authpriv|cron|local\d)"
    r"\.(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug) "
)
"""Between date and tag, as OpenWrt's logread and busybox's syslogd print it: each line has its own."""
_IDENT = r"[\w./()-]{1,64}(?:\[\d{1,10}\])?: ?"
_TAG = (
    rf"(?:{_LEVEL}{_IDENT}"
    rf"|(?P<host_date>[^\s:\[\]\"{{}}]{{1,255}}) (?:{_LEVEL})?{_IDENT}"
    r"|kernel(?:\[\d{1,10}\])?: ?)"
)
_NAME = r"[^\s\[\]:,;=\"/]{1,6}"
_CLOCK = r"\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"
_ZONE = r"(?: ?(?:Z|[A-Z]{3,4}|[+-]\d\d:?\d\d))?"
_ISO = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}{_ZONE}"
_DAY = rf"(?:(?:{_NAME} {{1,2}})?{_NAME} {{0,2}}\d{{1,2}}|{_NAME} {{1,2}}\d{{1,2}} {_NAME})"
"""The month first, as in the C locale, padded in Japanese and Chinese; or the day, as in French."""
_BSD = rf"{_DAY} (?:\d{{4}} )?{_CLOCK}(?: \d{{4}}| [A-Z]{{3,4}}(?: \d{{4}})?)?"
_FULL = rf"{_NAME} {_ISO}"
_UNIX = r"\d{9,10}\.\d{1,9}"
_CALLER = r"(?:\[ *[TC]\d+\])?"

_FACILITY = (
    r"(?P<facility>(?:kern|user|daemon|syslog|local\d) *: *"
    r"(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug) *: ?)"
)
_PREFIX = (
    r"[ \t]{0,80}(?:"
    + "|".join(
        (
            r"(?P<quote>[>|] ?|\+(?=\[))",
            r"(?P<kmsg>\d+,\d+,(?P<usec>\d{1,18}),[^;\s]*;)",
            r"(?P<rfc5424><\d{1,3}>\d \S+ (?P<host_5424>\S+) \S+ \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?\ufeff?)",
            r"(?P<level><\d{1,3}>)",
            rf"(?P<date>(?:{_ISO}|{_FULL}|{_BSD}|{_UNIX}):? +(?:{_TAG})?)",
            rf"(?P<uptime>\[ *(?P<seconds>\d{{1,12}}\.\d{{1,9}})(?: *<[ \d.+]*>)?\]{_CALLER}:? ?)",
            rf"(?P<bracket>\[(?: *\+\d+\.\d+|{_ISO}|{_FULL}|{_BSD})\]{_CALLER}:? ?)",
            # Of talosctl, which asks several nodes.
            r"(?P<node>(?P<host_node>[^\s:]+(?::[^\s:]+)*): (?=kern *: *\w+ *: *\[))",
            _FACILITY,
            r"(?P<tag>(?:(?P<host_tag>[^\s:\[\]\"{}]{1,255}) )?kernel: ?)",
            r"(?P<cri>std(?:out|err) [FP] )",
            r"(?P<field>MESSAGE=)",
            r"(?P<pod>\[pod/[^\]\s]*\] ?)",
        )
    )
    + ")"
)


def log_lines(raw: str) -> Iterator[LogLine]:
    """The kernel's messages in one line of a log: several where a JSON record holds a text of many lines."""
    line = raw.strip("\r\n\x00\ufeff")
    if "\x1b" in line:
        line = re.sub(_ANSI, "", line)
    lines = re.split(_STAMP, line) if len(line) > _RUN_TOGETHER_FROM and re.match(_STAMP, line) else [line]
    for each in lines:
        yield from _unwrapped(each, "", None, 0)


def _unwrapped(line: str, source: str, seconds: float | None, depth: int) -> Iterator[LogLine]:
    peeled = _peeled(line, source, seconds)
    if depth == _DEEPEST_JSON:
        yield peeled
        return
    messages = json_messages(peeled.text)
    if messages is None:
        yield peeled
        return
    for message in messages:
        inner = f"json {message.host}" if message.host or not peeled.source else peeled.source
        uptime = peeled.seconds if message.seconds is None else message.seconds
        for part in message.text.splitlines() or [""]:
            yield from _unwrapped(re.sub(_ESCAPED_END, "", part), inner, uptime, depth + 1)


def _peeled(line: str, source: str, seconds: float | None) -> LogLine:
    """A line without the prefixes that are known, at most so many."""
    at = 0
    way, host = "", ""
    prefix = re.compile(_PREFIX)
    for _ in range(_MOST_PREFIXES):
        match = prefix.match(line, at)
        if match is None:
            break
        at = match.end()
        host = (
            host or match["host_node"] or match["host_5424"] or match["host_date"] or match["host_tag"] or ""
        )
        way = way or _way(match)
        if match["usec"]:
            seconds = int(match["usec"]) / 1e6
        elif match["seconds"]:
            seconds = float(match["seconds"])
    if way or host:
        source = f"{source} {way} {host}".strip()
    return LogLine(source, seconds, line[at:])


def _way(match: re.Match[str]) -> str:
    """How the line was logged, said so coarsely that all lines of one log agree."""
    kind = match.lastgroup or ""
    return _WAYS.get(kind, "")


_WAYS = {
    "kmsg": "kmsg",
    "rfc5424": "dated",
    "date": "dated",
    "tag": "dated",
    "uptime": "ring",
    "bracket": "ring",
}
