"""From the bytes of an OpenAI-style stream to a :class:`Trace`; pure, and used after the run.

Understands ``/v1/chat/completions`` and ``/v1/completions`` of vLLM and of servers like it. What counts as a
token is what a reader of the answer sees: a chunk with the role, with empty text or with ``usage`` alone is
none. When an answer is complete is said in docs/what-counts.md, and decided here, in :func:`_outcome`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client import sse
from pytest_llmperf.client.drafted import Drafted, drafted_of
from pytest_llmperf.client.error_objects import error_in, message_of
from pytest_llmperf.client.finish_reasons import Finish, meaning
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.stream_template import Template, learn, text_of
from pytest_llmperf.client.tool_calls import ToolCalls, entries
from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.json_values import Json, JsonObject, object_of
from pytest_llmperf.serving.http_client import redirect
from pytest_llmperf.visible_text import is_invisible

_ENDINGS = {
    Ending.CUT: RequestOutcome.CUT,
    Ending.TIMEOUT: RequestOutcome.TIMEOUT,
    Ending.CONNECT_ERROR: RequestOutcome.CONNECT_ERROR,
    Ending.MALFORMED: RequestOutcome.STREAM_ERROR,
}
_REASONING = (
    "reasoning_content", "reasoning", "reasoning_text", "thinking", "thinking_content", "thought", "thoughts",
    "reasoning_details", "thinking_blocks",
)  # fmt: skip
"""Names under which servers send thinking apart from the answer. Some send it under two, for old and new clients."""
_OTHER_FIELDS = frozenset({
    *_REASONING,
    "content", "text", "refusal", "tool_calls", "function_call", "tool_call_id", "role", "name", "id", "type",
    "object", "index", "audio", "images", "logprobs", "annotations", "citations", "provider_specific_fields",
    "signature", "reasoning_signature", "encrypted_content", "status", "model", "created", "finish_reason",
    "stop_reason", "token_id", "system_fingerprint", "obfuscation",
})  # fmt: skip
"""Fields of a delta that are read, or hold no text of the answer."""
_OTHER_NAMES = re.compile(r"reason(?:ing)?(?!.*(?:id|token|effort|signature))|think|thought", re.IGNORECASE)
"""Fields beside the delta that may hold thinking; ``finish_reason`` and its like are left out by name."""
_NO_TEXT = re.compile(r"(?:finish|stop|matched|end|done|native|block|filter|cancel).*reason", re.IGNORECASE)
_DONE = frozenset({"[done]"})
_KEEP_ALIVE = frozenset({"ping", "pong", "keepalive", "heartbeat", "processing", "null", "[]"})
"""Data of events that only keep a connection open."""
_ASIDE = frozenset(
    {"ping", "keepalive", "heartbeat", "done", "end", "complete", "completed", "close", "finish", "open"}
)
"""Names of events whose data, where they are not JSON, say nothing of the answer."""
_MOST_TOKENS = 2**31
_NEARLY_ALL = 0.8
"""Least chunks per requested token for an answer to count as full length when the server counts no tokens: the last
characters may arrive together, but with fewer chunks the answer may have ended early."""
_MOST_LEARNT = 8
INVISIBLE = "the answer has no visible character ({} tokens): do the weights produce NaN?"


class Templates:
    """Templates of chunks, learnt from one stream and used for all others of a load."""

    def __init__(self) -> None:
        self.known: list[Template] = []
        self.learnt = 0

    def learn(self, event: bytes, chunk: JsonObject) -> None:
        """Remember the event's form, if it is one whose text can be found without parsing."""
        if self.learnt < _MOST_LEARNT and (template := learn(event, chunk)) is not None:
            self.learnt += 1
            self.known.insert(0, template)


def trace_of(
    reply: Reply,
    index: int = 0,
    intended_s: float | None = None,
    *,
    keep_events: bool = False,
    whole: bool = False,
    asked_tokens: int | None = None,
    templates: Templates | None = None,
) -> Trace:
    """One request's trace. ``intended_s`` None: it was to be sent when it was sent (closed loop).

    ``whole``: no stream was asked for, and the one JSON object is read as a stream's only event. ``asked_tokens``: the
    exact length that the answer must have; None: it ends where it ends. ``templates`` are shared by the replies of a
    load, so that few of their chunks need parsing.
    """
    reading = _Reading()
    events: tuple[str, ...] = ()
    if reply.status == 200 and whole:
        if reply.ending is Ending.COMPLETE:
            reading.take(reply.end_s, reply.text())
    elif reply.status == 200:
        _read(reply, reading, templates or Templates())
        if keep_events:
            events = tuple(event.data for event in sse.parse(reply.chunks()).events)
    arrivals = reading.credited()
    outcome, error = _outcome(reply, reading)
    if (
        outcome is RequestOutcome.OK
        and asked_tokens is not None
        and (why := _other_length(reading, asked_tokens))
    ):
        outcome, error = RequestOutcome.OTHER_LENGTH, why
    return Trace(
        index=index,
        intended_s=reply.sent_s if intended_s is None else intended_s,
        sent_s=reply.sent_s,
        headers_s=reply.headers_s,
        arrivals=arrivals,
        end_s=reply.end_s,
        outcome=outcome,
        finish_reason=None if reading.finish is None else reading.finish.value,
        prompt_tokens=reading.prompt_tokens,
        completion_tokens=reading.completion_tokens,
        cached_tokens=reading.cached_tokens,
        error=error,
        events=events,
        last_token_s=reading.last_token_s,
        status=reply.status,
        hidden_tokens=reading.hidden_tokens(),
        unseen_tokens=reading.unseen,
        unread_field=reading.unread_field(),
        drafted=reading.drafted,
        tool_calls=reading.calls.all,
    )


def _read(reply: Reply, reading: _Reading, templates: Templates) -> None:
    body, clock = bytes(reply.body), sse.Clock(reply.times, reply.ends)
    at = sse.begin(body)
    while not reading.over:
        # Templates know the first choice only.
        for template in templates.known if reading.index in (None, 0) else ():
            if (match := template.pattern.match(body, at)) is not None:
                at = match.end()
                reading.take_known(clock.at(at - template.late), match, template)
                if not reading.over and match["text"]:
                    at = _read_alike(
                        body, at, clock, reading, template, body[match.start() : match.start("text")]
                    )
                break
        else:
            block = sse.next_block(body, at)
            if block is None:
                reading.take_rest(*sse.rest(body, at))
                break
            chunk = reading.take(clock.at(block.complete), sse.text(block.data), block.name)
            if chunk is not None:
                templates.learn(body[at : block.after], chunk)
            at = block.after
    reading.finish_known(body)


def _read_alike(
    body: bytes, at: int, clock: sse.Clock, reading: _Reading, template: Template, beginning: bytes
) -> int:
    """Take the chunks from ``at`` on that begin as the one before, and whose text and tail are known; returns where the
    first other one begins.

    All that a load's hundreds of thousands of chunks need: no method is called for them.
    """
    texts, tails, reasoning = template.texts, template.tails, template.reasoning
    counts, arrive, new, length = template.counts, reading.arrivals.append, tuple.__new__, len(beginning)
    blank, late, known = template.blank, template.late, reading.known
    times, ends, read = clock.times, clock.ends, clock.read
    last_total, credited, before = reading.completion_tokens or 0, reading.counted, len(reading.arrivals)
    while body.startswith(beginning, at):
        start = at + length
        quote = body.find(b'"', start)
        text = texts.get(body[start:quote])
        end = body.find(blank, quote) if text else -1
        # A stream that is cut has no blank line any more.
        total = tails.get(body[quote:end]) if end >= 0 else None
        # A count that makes a leap, or chunks that were not counted before it, are looked at one by one.
        if total is None or (counts and not (reading.sound and 0 <= total - credited <= 8)):
            break
        known, at = (at, end), end + len(blank)
        while ends[read] < at - late:
            read += 1
        time_s = times[read]
        if counts:
            arrive(new(Arrival, (time_s, text, reasoning, total - credited)))
            if total > last_total:
                reading.last_token_s = time_s
            last_total = credited = total
        else:
            arrive(new(Arrival, (time_s, text, reasoning, None)))
    clock.read = read
    if taken := len(reading.arrivals) - before:
        reading.chunks += taken
        if counts:
            reading.completion_tokens, reading.counted, reading.uncredited = last_total, credited, 0
            reading.known = known
        else:
            reading.sound = False
    return at


def _outcome(reply: Reply, reading: _Reading) -> tuple[RequestOutcome, str]:
    """The outcome of an answer: the definition of complete that loads, goodput, evaluations and comparisons share."""
    if reply.status not in (0, 200):
        if 300 <= reply.status < 400:
            return RequestOutcome.HTTP_ERROR, redirect(reply.status, reply.headers.get("location"))
        return RequestOutcome.HTTP_ERROR, f"HTTP {reply.status}: {message_of(reply.text())}"
    if reading.error:
        return RequestOutcome.STREAM_ERROR, reading.error
    if reply.ending is not Ending.COMPLETE and not reading.done:
        after = f"; it came after finish_reason {reading.word!r}, but before [DONE]" if reading.finish else ""
        return _ENDINGS[reply.ending], f"{reply.detail}{after}"
    if reply.status == 200 and not reading.chunks and not reading.done:
        kind = reply.headers.get("content-type", "no content type")
        if (encoding := reply.headers.get("content-encoding", "identity").strip().lower()) != "identity":
            return RequestOutcome.STREAM_ERROR, (
                f"the stream is compressed (Content-Encoding: {encoding[:40]}), which was not asked for: a compressed "
                "stream comes in the compressor's rhythm; switch compression off in the gateway"
            )
        seen = reply.text()[:200]
        return RequestOutcome.STREAM_ERROR, f"HTTP 200, but not an event stream ({kind}): {seen!r}"
    if reading.finish is None:
        end = "[DONE] came" if reading.done else "the stream ended"
        return RequestOutcome.CUT, f"{end} without a finish reason: the answer may be cut anywhere"
    if reading.finish is Finish.ERROR:
        return RequestOutcome.STREAM_ERROR, f"the server ended the answer with finish_reason {reading.word!r}"
    if reading.finish is Finish.UNKNOWN:
        return RequestOutcome.UNKNOWN_FINISH, (
            f"the answer ended with finish_reason {reading.word!r}, which is not known to mean that it is whole"
        )
    if not reading.arrivals:
        counted = reading.completion_tokens
        said = "no count of its tokens" if counted is None else f"{counted} tokens counted"
        return RequestOutcome.EMPTY, (
            f"the answer ended with finish_reason {reading.word!r} and has no visible token ({said})"
        )
    if len(reading.arrivals) > 1 and reading.is_invisible():
        return RequestOutcome.EMPTY, INVISIBLE.format(reading.completion_tokens)
    return RequestOutcome.OK, ""


def _other_length(reading: _Reading, asked: int) -> str:
    """The reason why the answer does not have ``asked`` tokens; empty if it has, or nothing contradicts it."""
    came = reading.completion_tokens
    if came is None:
        counts = [arrival.tokens for arrival in reading.arrivals]
        came = None if None in counts else sum(count or 0 for count in counts) + reading.uncredited
    if came is None:
        chunks = len(reading.arrivals)
        if _NEARLY_ALL * asked <= chunks <= asked and reading.finish is not Finish.STOP:
            return ""
        return (
            f"{asked} tokens were asked for; {chunks} chunks came, which the server did not count, with finish_reason "
            f"{reading.word!r}: not comparable"
        )
    if came == asked:
        return ""
    return (
        f"{came} of the {asked} tokens that were asked for came (finish_reason {reading.word!r}): not comparable; does "
        "the server know ignore_eos?"
    )


@dataclass
class _Reading:
    arrivals: list[Arrival] = field(default_factory=list)
    finish: Finish | None = None
    word: object = None
    """The finish reason as the server said it."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    drafted: Drafted | None = None
    last_token_s: float | None = None
    chunks: int = 0
    done: bool = False
    error: str = ""
    counted: int = 0
    """Tokens credited to arrivals so far."""
    uncredited: int = 0
    """Tokens of chunks without text (half a character, a stop token), counted one by one."""
    sound: bool = True
    """Every arrival so far was counted as it came, so that what a count adds belongs to the newest."""
    unseen: int = 0
    """Tokens after the first arrival that a single chunk added to the count, and that its text cannot hold."""
    unread: dict[str, set[str]] = field(default_factory=dict)
    """Texts of chunks of which nothing was read, by the field that holds them."""
    known: tuple[int, int] | None = None
    """Offset in the body of the newest chunk with counts, if it was read by its template."""
    index: object = None
    """Index of the choice that is the answer, the first one received; None until one came."""
    calls: ToolCalls = field(default_factory=ToolCalls)

    @property
    def over(self) -> bool:
        """Nothing that follows belongs to the answer."""
        return self.done or bool(self.error)

    def take_known(self, time_s: float, match: Any, template: Template) -> None:
        """A chunk that matched a template."""
        try:
            content = text_of(match["text"])
        except ValueError:
            self.take(time_s, sse.text(match[0]).partition(":")[2].strip())
            return
        self.chunks += 1
        tokens = None
        if template.counts:
            total = int(match["counted"])
            tokens = self._added(time_s, total, len(content))
            self.known = match.start(), match.end()
        self.index = 0
        template.remember(match, content)
        if content:
            self._arrive(time_s, content, template.reasoning, tokens)

    def finish_known(self, body: bytes) -> None:
        """Read from the last match what else it counts, if no chunk after it has."""
        if self.known is not None:
            event = sse.next_block(body[slice(*self.known)] + b"\n\n", 0)
            usage = json.loads(sse.text(event.data)).get("usage") if event is not None else None
            if isinstance(usage, dict):
                self._take_details(usage)

    def take(self, time_s: float, data: str, name: str = "") -> dict[str, Json] | None:
        """An event; returns its JSON object if it is a chunk of an answer."""
        stripped = data.strip()
        if not stripped:
            if name == sse.ERROR:
                self.error = "the stream carries an error: an event named error, without a word"
            return None
        if name != sse.ERROR and _is_done(stripped):
            self.done = True
            return None
        if name != sse.ERROR and _plain(stripped) in _KEEP_ALIVE:
            return None
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            if name == sse.ERROR:
                self.error = f"the stream carries an error: {data[:300]}"
            elif name != sse.BARE and _plain(name) not in _ASIDE:
                self.error = f"an event of the stream is not JSON: {data[:200]!r}"
            return None
        if name == sse.ERROR or (isinstance(chunk, list) and any(map(_is_error, chunk))):
            told = chunk if isinstance(chunk, dict) else {"error": chunk}
            self.error = f"the stream carries an error: {error_in(told) or error_in({'error': told})}"
            return None
        if not isinstance(chunk, dict):
            self.error = f"an event of the stream is not a JSON object: {data[:200]!r}"
            return None
        if (told_error := error_in(chunk)) is not None:
            self.error = f"the stream carries an error: {told_error}"
            return None
        if name == sse.BARE:
            return None
        self.chunks += 1
        self._take_chunk(time_s, chunk)
        return chunk

    def take_rest(self, name: str, data: str) -> None:
        """Read the rest that no blank line completed: no token, but possibly the end or an error."""
        if name != sse.ERROR and _is_done(data.strip()):
            self.done = True
        elif name == sse.ERROR and data.strip():
            self.take(0.0, data, name)
        elif data.lstrip().startswith("{"):
            try:
                chunk = json.loads(data)
            except (ValueError, RecursionError):
                return
            if _is_error(chunk):
                self.error = f"the stream carries an error: {error_in(chunk)}"

    def _take_chunk(self, time_s: float, chunk: JsonObject) -> None:
        choice = self._own_choice(chunk)
        usage = chunk.get("usage")
        if "metrics" in chunk:
            self.drafted = drafted_of(chunk)
        counted: int | None = None
        if isinstance(usage, dict):
            self.known = None
            self._take_details(usage)
            counted = _count(usage.get("completion_tokens"), None)
        if choice is None:
            if counted is not None:
                self._take_last_count(counted)
            self._take_unread(chunk, beside=True)
            return
        reasoning, content, tool = _texts(choice)
        tokens: int | None = None
        if counted is not None:
            tokens = self._added(time_s, counted, len(reasoning) + len(content) + len(tool))
        elif (own := _tokens_in(choice)) is not None:
            self.uncredited += own
            tokens = self.uncredited
            if own:
                self.last_token_s = time_s
        whole = choice.get("delta") is None
        self.calls.take(object_of(choice.get("message" if whole else "delta")), whole=whole)
        if reasoning or content or tool:
            self._take_texts(time_s, reasoning, content, tokens)
        else:
            delta = choice.get("delta", choice.get("message"))
            self._take_unread(delta if isinstance(delta, dict) else {})
            self._take_unread(choice, beside=True)
            self._take_unread(chunk, beside=True)
        word = _finish_word(choice)
        # A gateway may close with its own "stop" what the server has given up.
        if (finish := meaning(word)) is not None and self.finish is not Finish.ERROR:
            self.finish, self.word = finish, word

    def _own_choice(self, chunk: JsonObject) -> JsonObject | None:
        """The choice that is the answer: where several are streamed, the one that began first, or the first of one
        chunk."""
        choices = chunk.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str):
            return None
        by_index: dict[object, JsonObject] = {}
        for choice in choices:
            if isinstance(choice, dict):
                by_index.setdefault(_index_of(choice), choice)
        if by_index and self.index is None:
            self.index = 0 if 0 in by_index else next(iter(by_index))
        return by_index.get(self.index)

    def _take_details(self, usage: JsonObject) -> None:
        self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.cached_tokens = _detail(usage, "prompt_tokens_details", "cached_tokens", self.cached_tokens)
        self.reasoning_tokens = _detail(
            usage, "completion_tokens_details", "reasoning_tokens", self.reasoning_tokens
        )

    def _take_last_count(self, total: int) -> None:
        """A count without a choice. After counts in every chunk it may add a stop token, and no more."""
        before = max(self.completion_tokens or 0, self.counted + self.uncredited)
        if self.arrivals and self.sound and not 0 <= total - before <= 1:
            self.unseen += abs(total - before)
        self.completion_tokens = total

    def _added(self, time_s: float, total: int, characters: int) -> int | None:
        """Tokens that a count of ``total`` adds to the newest chunk; None if they may belong to earlier ones."""
        before = self.completion_tokens or 0
        self.completion_tokens = total
        if total > before:
            self.last_token_s = time_s
            if self.arrivals and self.sound and total - before > max(8, 2 * characters):
                self.unseen += total - before
        elif total < before and self.sound:
            self.unseen += before - total
        return max(0, total - self.counted) if self.sound else None

    def _take_texts(self, time_s: float, reasoning: str, content: str, tokens: int | None) -> None:
        if reasoning and content:
            # One chunk over the border: which tokens were which is not said; the sum is what counts for gaps.
            first = None if tokens is None else max(tokens - 1, 0)
            last = None if tokens is None or first is None else tokens - first
            self._arrive(time_s, sys.intern(reasoning), True, first)
            self._arrive(time_s, sys.intern(content), False, last)
        else:
            # The text of a tool's call is visible, and none of the answer.
            self._arrive(time_s, sys.intern(reasoning or content), bool(reasoning), tokens)

    def _arrive(self, time_s: float, visible: str, reasoning: bool, tokens: int | None) -> None:
        if tokens is None:
            self.sound = False
        else:
            self.counted += tokens
            self.uncredited = 0
        self.arrivals.append(Arrival(time_s, visible, reasoning, tokens))

    def _take_unread(self, fields: JsonObject, *, beside: bool = False) -> None:
        """Look for text that is not read, in a delta or ``beside`` it, where only the names of thinking are suspect."""
        for name, value in fields.items():
            if beside:
                if not isinstance(value, str) or not _OTHER_NAMES.search(name) or _NO_TEXT.search(name):
                    continue
            elif name in _OTHER_FIELDS:
                continue
            if value and isinstance(value, str | list | dict):
                seen = self.unread.setdefault(name, set())
                if len(seen) < 3:
                    seen.add(repr(value))

    def is_invisible(self) -> bool:
        """True if a reader sees none of its characters. Tool calls are no text, and are left alone."""
        texts = [arrival.text for arrival in self.arrivals]
        return "" not in texts and is_invisible("".join(texts))

    def unread_field(self) -> str:
        """A field whose texts went by unread; empty if there is none. One value that every chunk repeats is no text."""
        return next((name for name, values in self.unread.items() if len(values) > 1), "")

    def credited(self) -> tuple[Arrival, ...]:
        """The arrivals, without their counts where those do not follow the chunks.

        A count that stands still while texts come, and then makes up for it, does not say when tokens came.
        """
        counts = [arrival.tokens for arrival in self.arrivals]
        if None not in counts and counts.count(0) > 1 + 0.1 * len(counts):
            self.arrivals = [arrival._replace(tokens=None) for arrival in self.arrivals]
            self.unseen = 0
        return tuple(self.arrivals)

    def hidden_tokens(self) -> int:
        """Tokens of thinking that the server counted and did not send."""
        if (
            not self.reasoning_tokens
            or not self.arrivals
            or any(arrival.reasoning for arrival in self.arrivals)
        ):
            return 0
        shown = (self.completion_tokens or 0) - self.reasoning_tokens
        thinks = any("think>" in arrival.text for arrival in self.arrivals)
        return 0 if thinks or len(self.arrivals) > max(1, shown) else self.reasoning_tokens


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and error_in(value) is not None


def _plain(word: str) -> str:
    return word.strip(": ").replace("-", "").replace("_", "").lower()


def _is_done(data: str) -> bool:
    """``[DONE]``, perhaps in quotes, in other case, or twice in one event."""
    return len(data) < 64 and all(line.strip('" ').lower() in _DONE for line in data.splitlines() or [""])


def _index_of(choice: JsonObject) -> object:
    index = choice.get("index")
    if isinstance(index, str) and index.isdecimal():
        return int(index)
    return index if isinstance(index, int | float) else 0


def _finish_word(choice: JsonObject) -> object:
    for name in ("finish_reason", "finishReason", "finish_details"):
        if choice.get(name) is not None:
            return choice[name]
    return None


def _texts(choice: JsonObject) -> tuple[str, str, str]:
    """(reasoning, content, a tool's call) of one chunk; an empty string where there is none."""
    delta = choice.get("delta")
    if delta is None:
        delta = choice.get("message")
    if not isinstance(delta, dict):
        return "", _string(choice.get("text")), ""
    thought, content = _parts(delta.get("content"))
    reasoning = next(
        (read for name in _REASONING if name in delta and (read := "".join(_parts(delta[name])))), ""
    )
    audio = delta.get("audio")
    spoken = _string(audio.get("transcript")) if isinstance(audio, dict) else ""
    return reasoning or thought, content or _string(delta.get("refusal")) or spoken, _called(delta)


def _parts(value: object) -> tuple[str, str]:
    """(thinking, text) of a content, which is a string or a list of parts (Mistral, Anthropic-like gateways)."""
    if isinstance(value, str):
        return "", value
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return "", ""
    thoughts, texts = [], []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            thinks = any(word in str(part.get("type", "")) for word in ("think", "reason"))
            inner = next(
                (
                    part[name]
                    for name in ("text", "thinking", "reasoning", "content", "refusal", "summary")
                    if part.get(name)
                ),
                "",
            )
            thought, text = _parts(inner)
            thoughts.append(thought + text if thinks else thought)
            texts.append("" if thinks else text)
    return "".join(thoughts), "".join(texts)


def _called(delta: JsonObject) -> str:
    """The calls of tools as far as this chunk has them: names and arguments."""
    functions = [entry.get("function") or entry.get("custom") or entry for entry in entries(delta)]
    return "".join(
        value if isinstance(value, str) else json.dumps(value)
        for function in functions
        if isinstance(function, dict)
        for name in ("name", "arguments", "input", "parameters")
        if (value := function.get(name))
    )


def _tokens_in(choice: JsonObject) -> int | None:
    """Tokens of one chunk by its token ids or logprobs, if it has them."""
    ids = choice.get("token_ids")
    if isinstance(ids, list):
        return len(ids)
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, dict):
        listed = logprobs.get("content") or logprobs.get("tokens")
        if isinstance(listed, list):
            return len(listed)
    return None


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object, otherwise: int | None) -> int | None:
    """``value`` if it can be a number of tokens; a record has no room for a stranger's 10**30."""
    if isinstance(value, float) and value.is_integer():
        # Some languages have no other numbers.
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else otherwise


def _detail(usage: JsonObject, group: str, name: str, otherwise: int | None) -> int | None:
    details = usage.get(group)
    return _count(details.get(name), otherwise) if isinstance(details, dict) else otherwise
