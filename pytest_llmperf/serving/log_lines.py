"""Read an engine's log, however long, and reduce its lines to text, level and process.

A log of 100 MB (debug level, a request's dump in every line) must neither fill the memory nor cost the user half a
minute, and its cause may stand anywhere: both ends are read, and the middle is searched for the words that errors are
written with.

An engine is several processes that write into one file, each with libraries of its own: vLLM's format, uvicorn's,
Python's logging, glog's, Ray's, or one JSON object a line. Each line is reduced to its text, its level and the process
that wrote it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.serving.state import TITLE

HEAD_BYTES = 512 * 1024
TAIL_BYTES = 1024 * 1024
MIDDLE_BYTES = 1024 * 1024
"""Most that is kept of the errors between the ends."""
_CHUNK_BYTES = 4 * 1024 * 1024
_OVERLAP_BYTES = 16 * 1024
_LINE_BYTES = 4096
_TRACEBACK_BYTES = 12 * 1024
_GAP = b"\n[...]\n"
# Searched one by one: bytes.find is ten times faster than one expression with all of them.
_TRACEBACK = b"Traceback (most recent call last)"
_FATAL_WORDS = (
    _TRACEBACK,
    b"terminate called",
    b"panicked at",
    b"Fatal Python error",
    b"Segmentation fault",
    b"failed to start",
    b"exit code",
    b"CRITICAL",
    b"FATAL",
)
_ERROR_WORDS = (b"ERROR", b"Error:", b"Error\n", b"Exception:", b"Exception\n", b'"error"')
# One kind of line that is repeated for every request must not crowd out the others.
_REPEATS = 3
# Most lines with a common word that are looked at: a log may be full of them.
_COMMON_LINES = 200_000
_START_BYTES = 8 * 1024 * 1024
LINE_CHARACTERS = 4096

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PROGRESS_BAR = re.compile(r"\d{1,3}%(?: Completed)?\s*\|.*\|?|\b\d+/\d+ \[\d\d:\d\d<|\[\d\d:\d\d<[\d:?]+,")
_LEVEL = r"TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRITICAL|FATAL"
_PYTHON_LOGGING = (
    rf"\[?\d{{4}}-\d\d-\d\d[ T][\d:]{{8}}(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?"
    rf"(?:[ :|-]+(?:[\w.]+ - )?\[?(?P<level>{_LEVEL})\]?(?=[ :|\]-]))?[ :|-]*"
)
_GLOG = r"\[?(?P<glog>[IWEF])\d{4,8} [\d:.]+ +(?:\d+ +)?(?P<place>[\w./<>-]+:\d+)\] ?"
# INFO 11-30 05:00:00 [core.py:15] text; older: INFO 11-30 05:00:00 core.py:15] text
_VLLM = (
    rf"(?P<level>{_LEVEL})\s+\d\d-\d\d [\d:]{{8}}(?:[.,]\d+)? "
    r"(?:\[(?P<place>[^\]]*)\]|(?P<old_place>[\w./]+:\d+)\]) ?"
)
_WHO = r"\((?P<who>[^()]{0,80}\bpid=\d+[^()]{0,60}|raylet[^()]*|autoscaler[^()]*|[A-Z]\w+)\) ?"
_COMPOSE = r"[\w.-]+ +\| (?=\S| )"
_NCCL = r"[\w.-]+:\d+:\d+ \[\d+\] (?P<nccl>NCCL (?:INFO|WARN)) "
# By the character that a line begins with. They are tried until none fits: a line of a Ray worker carries three.
_PREFIXES = {
    kind: tuple(re.compile(pattern) for pattern in patterns)
    for kind, patterns in {
        # (EngineCore_DP0 pid=67), (Worker_TP1 pid=68), (RayWorkerWrapper pid=7, ip=10.0.0.1), (raylet), (APIServer)
        "(": (_WHO,),
        "[": (
            r"\[pod/[^\]]+\] ",
            r"\[(?P<rank>rank\d+)\]:? ?(?=\S| )",
            # torch: [W1130 05:00:00.1 file.cpp:1] text
            _GLOG,
            _PYTHON_LOGGING,
            rf"\[(?P<level>{_LEVEL})\]:? ?",
        ),
        "digit": (
            # a container's runtime
            r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) [FP] ",
            # 2026-11-30 05:00:00,123 - name - ERROR - text; with and without level
            _PYTHON_LOGGING,
            _COMPOSE,
            _NCCL,
        ),
        "upper": (
            _VLLM,
            rf"(?P<level>{_LEVEL}) \[(?P<place>[\w./]+:\d+)\] ?",
            # uvicorn's "ERROR:    text", logging's "ERROR:root:text"
            rf"(?P<level>{_LEVEL}):(?:[\w.]+:(?=\S)|\s+)",
            _GLOG,
            # journald
            r"[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ [\w.@-]+\[\d+\]: ",
            _COMPOSE,
            _NCCL,
        ),
        "lower": (_COMPOSE, _NCCL),
    }.items()
}
_LEVELS = {
    "TRACE": "DEBUG",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "ERR": "ERROR",
    "FATAL": "CRITICAL",
    "PANIC": "CRITICAL",
}
_GLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
_NCCL_LEVELS = {"NCCL INFO": "INFO", "NCCL WARN": "WARNING"}
# time=2026-11-30T05:00:00Z level=error msg="text"
_LOGFMT_LEVEL = re.compile(r"(?:^|\s)level=\"?(\w+)")
_LOGFMT_TEXT = re.compile(r'(?:^|\s)(?:msg|message)=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
# A warning of Python's own: "/path/module.py:12: UserWarning: text"
_PYTHON_WARNING = re.compile(r"\S*:\d+: \w*Warning: |\w*Warning: ")
_JSON_TEXTS = ("message", "msg", "event", "text", "log")
_JSON_TRACES = (
    "exc_info",
    "exc_text",
    "exception",
    "traceback",
    "stack_trace",
    "stacktrace",
    "stack",
    "error.stack_trace",
)
_JSON_LEVELS = ("level", "levelname", "severity", "log.level", "loglevel", "lvl")
_JSON_PROCESSES = ("process", "pid", "processName", "process_id", "process_name", "process.pid")


def read_log(log: Path, offset: int = 0) -> str:
    """The log from ``offset`` on; of a very long one, its two ends and the errors between them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(offset, size))
            if size - offset <= HEAD_BYTES + TAIL_BYTES:
                data = file.read()
            else:
                head = file.read(HEAD_BYTES)
                middle = _errors(file, size - TAIL_BYTES)
                file.seek(size - TAIL_BYTES)
                data = _GAP.join([head, middle, file.read(TAIL_BYTES)])
    except OSError:
        return ""
    return data.decode("utf-8", errors="replace")


def tail(log: Path, count: int) -> str:
    """The last lines of a file, or nothing when it can't be read."""
    return "\n".join(read_log(log).splitlines()[-count:])


def read_last_start(log: Path) -> str:
    """The output of the last start in a log, from the keeper's title on; empty if there is no such file.

    Only the first megabytes are read: what follows are requests, gigabytes of them at worst.
    """
    try:
        with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # The keeper's own line: engines' banners are worded differently from version to version.
            begin = max(0, data.rfind(TITLE.encode()))
            return data[begin : begin + _START_BYTES].decode("utf-8", errors="replace")
    except (OSError, ValueError):  # mmap raises ValueError for an empty file
        return ""


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    text: str
    level: str = ""
    """DEBUG, INFO, WARNING, ERROR, CRITICAL, or empty where the line states none."""
    who: str = ""
    """The process that wrote it, as it calls itself; empty where it doesn't."""
    record: str = ""
    """The same for all lines of one record, where its formatter repeats the prefix (as vLLM's does); else empty."""

    @property
    def is_error(self) -> bool:
        """Its level does not say that it is less than an error."""
        return self.level in ("", "ERROR", "CRITICAL")


def read_lines(log: str) -> list[Line]:
    """Every line that says something; progress bars and empty control sequences are left out."""
    lines = []
    in_group = False
    for raw in re.split(r"[\r\n]", log):
        for line in _read(raw[:LINE_CHARACTERS]):
            text = line.text
            if "Exception Group Traceback" in text:
                in_group = True
            if in_group:
                text = _without_group_margin(text)
            if not _PROGRESS_BAR.search(text):
                lines.append(line if text is line.text else replace(line, text=text))
    return lines


def _read(raw: str) -> Iterator[Line]:
    text = _COLOUR.sub("", raw) if "\x1b" in raw else raw
    text = (text if text.isprintable() else _CONTROL.sub("", text)).rstrip()
    level = who = record = ""
    for _ in range(6):
        if not text or text[0] == " ":
            break
        if text[0] == "{" and text[-1] == "}" and (parsed := _json_record(text)) is not None:
            yield from _from_json(parsed, level, who, raw)
            return
        prefixes = _PREFIXES.get(_kind(text[0]), ())
        match = next((match for prefix in prefixes if (match := prefix.match(text)) and match.end()), None)
        if match is None:
            break
        groups = match.groupdict()
        level = _level(groups) or level
        who = groups.get("who") or groups.get("rank") or who
        if groups.get("place") or groups.get("old_place"):
            record = match.group()
        text = text[match.end() :]
    if not level and _PYTHON_WARNING.match(text):
        level = "WARNING"
    if "level=" in text and (stated := _LOGFMT_LEVEL.search(text)) and (message := _LOGFMT_TEXT.search(text)):
        level, record = normal_level(stated[1]), raw
        text = message[2] if message[1] is None else message[1].replace('\\"', '"').replace("\\n", " ")
    yield Line(text, level, who, record)


def _kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    return character if character in "([" else "upper" if character.isupper() else "lower"


def _level(groups: Mapping[str, str | None]) -> str:
    if glog := groups.get("glog"):
        return _GLOG_LEVELS[glog]
    if nccl := groups.get("nccl"):
        return _NCCL_LEVELS[nccl]
    return normal_level(groups.get("level") or "")


def normal_level(word: str) -> str:
    """``WARN`` → ``WARNING`` and so on; empty for what is no level."""
    word = word.upper()
    word = _LEVELS.get(word, word)
    return word if word in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else ""


def _json_record(text: str) -> dict[str, Json] | None:
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(text)
        if isinstance(record, dict) and any(isinstance(record.get(key), str) for key in _JSON_TEXTS):
            return record
    return None


def _from_json(record: JsonObject, level: str, who: str, raw: str) -> Iterator[Line]:
    """The message and the traceback of a JSON record, a line each."""
    if isinstance(inner := record.get("record"), dict) and "message" in inner:
        record = inner  # loguru
    named = next((word for key in _JSON_LEVELS if (word := _word(record.get(key)))), "")
    level = normal_level(named) or level
    who = next((str(record[key]) for key in _JSON_PROCESSES if record.get(key) not in (None, "")), who)
    texts = [text for key in _JSON_TEXTS if isinstance(text := record.get(key), str)][:1]
    if not named and texts and "log" in record:
        # Docker's own wrapping: the line of the program is inside.
        for raw in texts[0].splitlines():
            yield from _read(raw)
        return
    texts += [trace for key in _JSON_TRACES if (trace := _trace(record.get(key)))][:1]
    error = record.get("error")
    if len(texts) == 1 and error:
        texts += [trace] if (trace := _trace(error)) else []
    for text in texts:
        for line in _COLOUR.sub("", text).splitlines():
            yield Line(line.rstrip(), level, who, raw)


def _word(value: object) -> str:
    value = value.get("name") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else ""


def _trace(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(part.rstrip("\n") for part in value)
    if isinstance(value, Mapping):
        for key in ("stack", "stack_trace", "stacktrace", "traceback"):
            if trace := _trace(value.get(key)):
                return trace
        kind = value.get("type") or value.get("name") or value.get("kind") or value.get("class")
        text = value.get("message") or value.get("value") or value.get("msg")
        return ": ".join(str(part) for part in (kind, text) if part)
    return ""


def _without_group_margin(text: str) -> str:
    """A line of an exception group without its bars; a divider becomes an empty line."""
    bare = re.sub(r"^\s*[|+] ?", "", text)
    return "" if re.fullmatch(r"[-+]+(?: ?\d+ -+| ?\.\.\. -+)?", bare) else bare


def _errors(file: BinaryIO, end: int) -> bytes:
    """The errors from the file's position to ``end``: each line that looks like one, each traceback as a whole.

    Of more than `MIDDLE_BYTES` the first and the last are kept.
    """
    first: list[bytes] = []
    last: deque[bytes] = deque()
    room = {"first": MIDDLE_BYTES // 2, "last": MIDDLE_BYTES // 2}
    seen: dict[bytes, int] = {}
    common_left = _COMMON_LINES
    position = done = file.tell()
    while position < end:
        file.seek(position)
        chunk = file.read(min(_CHUNK_BYTES + _OVERLAP_BYTES, end - position))
        if not chunk:
            break
        places = _places(chunk, _FATAL_WORDS, len(chunk))
        common = _places(chunk, _ERROR_WORDS, common_left)
        common_left -= len(common)
        for place in sorted(places | common):
            if place >= _CHUNK_BYTES:
                break
            if position + place < done:
                continue
            key = chunk[place : place + 300].partition(b"\n")[0].translate(None, b"0123456789 ")
            if b"Traceback(most" not in key:
                seen[key] = seen.get(key, 0) + 1
                if seen[key] > _REPEATS:
                    continue
            block = _block(chunk, place)
            done = position + place + len(block)
            if room["first"] >= len(block):
                first.append(block)
                room["first"] -= len(block)
                continue
            last.append(block)
            room["last"] -= len(block)
            while room["last"] < 0:
                room["last"] += len(last.popleft())
        position += _CHUNK_BYTES
    return _GAP.join([*first, *last])


def _places(chunk: bytes, words: Iterable[bytes], most: int) -> set[int]:
    """Offsets of the lines that contain one of the words; at most ``most`` of them."""
    places: set[int] = set()
    for word in words:
        place = chunk.find(word)
        while place >= 0 and len(places) < most:
            begin = chunk.rfind(b"\n", max(0, place - _LINE_BYTES), place)
            places.add(begin + 1 if begin >= 0 else max(0, place - _LINE_BYTES))
            end = chunk.find(b"\n", place)
            place = chunk.find(word, end) if end >= 0 else -1
    return places


def _block(chunk: bytes, begin: int) -> bytes:
    """The line at ``begin`` and the two behind it, or a whole traceback."""
    end = chunk.find(b"\n", begin, begin + _LINE_BYTES)
    if end < 0:
        return chunk[begin : begin + _LINE_BYTES]
    for _ in range(2):
        following = chunk.find(b"\n", end + 1, end + _LINE_BYTES)
        end = following if following >= 0 else end
    if _TRACEBACK in chunk[begin:end]:
        end = max(end, chunk.rfind(b"\n", begin, begin + _TRACEBACK_BYTES))
    return chunk[begin:end]
