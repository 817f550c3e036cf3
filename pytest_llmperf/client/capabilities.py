"""Find out what a server supports, before the first load, and keep it with the server: the request fields it refuses,
and how many tokens its words have if it has no ``/tokenize``.

vLLM ignores a field that it does not know; others answer 400 or 422. A field that we add by ourselves is left out for
such a server, which is told once. A field that the user has set is never left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pytest_llmperf.client.body import path_of
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import RequestOutcome, Trace
from pytest_llmperf.engines.base import Capability
from pytest_llmperf.errors import NotMeasured, RequestFailed
from pytest_llmperf.json_values import Json, JsonObject, parse_json
from pytest_llmperf.serving.http_client import clean, error_message, retry_after_s
from pytest_llmperf.serving.server import Capabilities

ADDED = ("ignore_eos", "min_tokens", "cache_salt", "request_id", "continuous_usage_stats", "stream_options")
"""Fields that a load adds by itself, and leaves out for a server that refuses them."""
RENAMED: Mapping[str, str] = {"max_tokens": "max_completion_tokens"}
"""Fields of chats that some servers (OpenAI's reasoning models) take under another name alone."""
NOT_OPENAI = frozenset(ADDED) - {"stream_options"}
"""Fields that ``extra_body = false`` leaves out from the beginning."""
PROBE_S = 30.0
"""Time-out for one token to a short prompt. A server that takes longer while idle would take hours for a load."""
_TRIES = 3
_SHORT_BYTES = 65536
_LONGEST_WAIT_S = 10.0
_REFUSALS = (400, 422, 501)
_ONCE_MORE = (429, 502, 503, 504, 529)
_UNKNOWN = re.compile(
    r"(unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional)\W+(\w+\W+){0,2}?"
    r"(field|param|arg|input|key|propert|attribute|name\b)",
    re.IGNORECASE,
)
_DATA = re.compile(rb"^(?:data|error):[ ]?([^\r\n]+)", re.MULTILINE)
_OTHER_NAME = re.compile(
    r"support|deprecat|unknown|unrecogni|permitted|allowed|instead|replac|renamed", re.IGNORECASE
)
_TOO_MUCH = re.compile(r"too (large|long|big|high|many)|exceed|at most|context", re.IGNORECASE)
_TOO_LITTLE = re.compile(
    r"max_(completion_|output_)?tokens|max_new_tokens|output limit|minimum|at least|higher", re.IGNORECASE
)
_PLAUSIBLE = (0.2, 20.0)
"""Tokens of an English word; a server whose usage says otherwise counts something else."""
_FEW, _MANY = 8, 72


def without(body: JsonObject, refused: Collection[str], keep: Collection[str] = ()) -> dict[str, Json]:
    """The body without the refused fields; those in ``keep``, which the user has set, stay.

    A field of a chat in :data:`RENAMED` is sent under its other name instead.
    """
    if "messages" in body and (renamed := {name for name in RENAMED if name in refused and name in body}):
        body = {name: value for name, value in body.items() if name not in renamed} | {
            RENAMED[name]: body[name] for name in renamed
        }
    gone = {name for name in refused if name not in keep and name not in RENAMED}
    left = {name: value for name, value in body.items() if name not in gone}
    options = left.get("stream_options")
    if isinstance(options, dict) and "continuous_usage_stats" in gone:
        left["stream_options"] = {k: v for k, v in options.items() if k != "continuous_usage_stats"}
    return left


_FIELDS_OF: Mapping[Capability, frozenset[str]] = {
    "ignore_eos": frozenset({"ignore_eos", "min_tokens"}),
    "cache_salt": frozenset({"cache_salt"}),
}


def declare(known: Capabilities, stated: Mapping[Capability, bool]) -> None:
    """Take over what the engine is known to support or to lack, so that the server is not asked for it."""
    if stated.get("tokenize") is False:
        known.tokenize, known.no_tokenize = False, "its engine has none"
    if stated.get("metrics") is False:
        known.metrics = False
    if stated.get("prompt_logprobs") is False:
        known.prompt_logprobs = False
    lacking = {
        name for capability, names in _FIELDS_OF.items() if stated.get(capability) is False for name in names
    }
    if lacking - known.refused:
        known.refused |= lacking
        fields = frozenset(lacking)
        known.notes.append(
            f"its engine has no {', '.join(sorted(fields))}; requests are sent without{_lost(fields)}"
        )
    if stated.get("unknown_fields"):
        known.asked = True


def declare_plain(known: Capabilities) -> None:
    """The row says ``extra_body = false``: the server takes OpenAI's own fields alone, and no others are tried."""
    if not known.refused >= NOT_OPENAI:
        known.refused |= NOT_OPENAI
        names = ", ".join(sorted(NOT_OPENAI))
        known.notes.append(f"extra_body = false: loads are sent without {names}{_lost(NOT_OPENAI)}")


async def find_refused(
    pool: Pool, known: Capabilities, body: JsonObject, keep: Collection[str] = ()
) -> frozenset[str]:
    """Which of the fields of ``body`` that we added the server refuses, by asking it for one token with them.

    Kept in ``known``. ``keep`` are the fields that the user has set. Raises :class:`RequestFailed` if one of those is
    refused, and if the server does not answer a request at all, or with an error.
    """
    if known.asked:
        return known.refused
    whole, body = body, _for_one_token(body)
    found: frozenset[str] = frozenset()
    refusal: Reply | None = None
    while True:
        reply = await _asked(pool, without(body, known.refused | found, keep))
        named = refused_in(reply, without(body, known.refused | found, keep))
        if reply.status == 200 and not named:
            break
        if needed := sorted(named - RENAMED.keys() - (frozenset(ADDED) - frozenset(keep))):
            raise RequestFailed(
                f"{pool.endpoint.address.shown()} refuses {', '.join(needed)}, which the load is to send "
                f"(HTTP {reply.status}: {_words(reply)}); leave it out, or choose another server"
            )
        if not named and body is not whole and _TOO_LITTLE.search(reply.text()):
            # Some servers take no limit below 16, and reasoning models fail when one token is not enough to think.
            body = whole
            continue
        if not named:
            where = pool.endpoint.address.shown(path_of(body))
            raise RequestFailed(
                f"{where}: a request for one token is answered with {trace_of(reply).error}; no load was sent"
            )
        if renamed := named & RENAMED.keys():
            remember(known, renamed, reply)
        if others := named - RENAMED.keys():
            found, refusal = found | others, refusal or reply
    if refusal is not None:
        remember(known, found, refusal)
    known.asked = True
    return known.refused


def refused_in(reply: Reply, body: JsonObject) -> frozenset[str]:
    """The fields of ``body`` that this answer refuses, by its own words; empty if it is about something else."""
    text = _refusal(reply)
    return _named(text, _fields_of(body)) if text else frozenset()


def _refusal(reply: Reply) -> bytes:
    """The words in which a reply may refuse a field; empty if it is no refusal."""
    if reply.status in _REFUSALS:
        return bytes(reply.body)
    if reply.status == 500 and _UNKNOWN.search(reply.text()):
        # Python's "unexpected keyword argument": the field was passed on unread.
        return bytes(reply.body)
    if reply.status == 200 and len(reply.body) < _SHORT_BYTES and b'"choices"' not in reply.body:
        # Gateways begin the stream first, and put the server's refusal into it.
        trace = trace_of(reply)
        if trace.outcome is RequestOutcome.STREAM_ERROR and not trace.arrivals:
            event = _DATA.search(reply.body)
            return bytes(event[1]) if event else trace.error.encode()
    return b""


def _words(reply: Reply) -> str:
    """The server's own words of a refusal, as one line."""
    return clean(trace_of(reply).error) if reply.status == 200 else error_message(bytes(reply.body))


def remember(known: Capabilities, refused: frozenset[str], reply: Reply) -> None:
    """Send no more requests with these fields to this server, and tell the user so, with the server's own words."""
    known.refused |= refused
    if left_out := refused - RENAMED.keys():
        names = ", ".join(sorted(left_out))
        known.notes.append(
            f"the server refuses {names} ({_words(reply)}); requests are sent without{_lost(left_out)}"
        )
    known.notes += [
        f"the server refuses {name} ({_words(reply)}); chats are sent with {RENAMED[name]}"
        for name in sorted(refused & RENAMED.keys())
    ]


async def tokens_of_words(
    pool: Pool, known: Capabilities, chat: bool, body_of: Callable[[int], JsonObject]
) -> tuple[float, float] | None:
    """Tokens of a prompt without words, and of each word, by ``usage`` of two requests for one token.

    ``body_of`` makes the body of a prompt of so many words. None where the server's usage says nothing plausible.
    """
    if chat not in known.tokens_of_words:
        counts = []
        for words in (_FEW, _MANY):
            body = without(_for_one_token(body_of(words)), known.refused)
            trace = trace_of(await _asked(pool, body))
            counts.append(trace.prompt_tokens)
        few, many = counts
        if few is None or many is None:
            return None
        each = (many - few) / (_MANY - _FEW)
        if not _PLAUSIBLE[0] <= each <= _PLAUSIBLE[1]:
            return None
        known.tokens_of_words[chat] = (few - each * _FEW, each)
    return known.tokens_of_words[chat]


def raise_if_all_failed(traces: Sequence[Trace], what: str) -> None:
    """Raise :class:`NotMeasured` with the first error if not one of these requests was answered."""
    if traces and not any(trace.ok for trace in traces):
        raise NotMeasured(
            f"all {len(traces)} requests of {what} failed, so no more were sent; the first with: "
            f"{clean(traces[0].error, 500)}"
        )


async def _asked(pool: Pool, body: JsonObject) -> Reply:
    """The answer to one request, asked again where the server says that it is busy."""
    request = pool.endpoint.request("POST", path_of(body), body)
    for attempt in range(1, _TRIES + 1):
        reply = await pool.send(request, PROBE_S)
        if reply.ending is not Ending.COMPLETE and reply.status != 200:
            raise RequestFailed(
                f"{pool.endpoint.address.shown(path_of(body))}: a request for one token got no answer "
                f"({reply.detail}); no load was sent"
            )
        if reply.status not in _ONCE_MORE or attempt == _TRIES:
            break
        told_s = retry_after_s(reply.headers.get("retry-after"))
        await asyncio.sleep(min(_LONGEST_WAIT_S, 1.0 if told_s is None else told_s))
    return reply


def _for_one_token(body: JsonObject) -> dict[str, Json]:
    return {**body, "max_tokens": 1} | ({"min_tokens": 1} if "min_tokens" in body else {})


def _fields_of(body: JsonObject) -> frozenset[str]:
    options = body.get("stream_options")
    inner = frozenset(options) if isinstance(options, dict) else frozenset()
    return frozenset(body) | inner


def _named(text: bytes, fields: frozenset[str]) -> frozenset[str]:
    """The ``fields`` that a refusal names; all fields added by us if it speaks of unknown fields and names none."""
    told = _places(parse_json(text))
    words = text.decode("utf-8", errors="replace")
    renamed = frozenset(
        name
        for name, other in RENAMED.items()
        if {"messages", name} <= fields
        and re.search(rf"\b{name}\b", words)
        and re.search(rf"\b{other}\b", words)
        and _OTHER_NAME.search(words)
        and not _TOO_MUCH.search(words)
    )
    if renamed:
        return renamed
    if not told & fields:
        told = frozenset(name for name in fields if re.search(rf"\b{re.escape(name)}\b", words))
    named = {"stream_options" if name == "include_usage" else name for name in told & fields}
    # The field that is at fault, and not the one around it.
    if "continuous_usage_stats" in named:
        named.discard("stream_options")
    if named := named - {"model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stream"}:
        return frozenset(named)
    if _UNKNOWN.search(words):
        return fields & frozenset(ADDED)
    return frozenset()


def _places(body: Any) -> frozenset[str]:
    """Names of fields in the places where OpenAI's (``error.param``) and FastAPI's (``detail[].loc``) refusals have
    them."""
    found: set[str] = set()
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict) and isinstance(error.get("param"), str):
            found |= set(re.split(r"[.\[\]]+", error["param"]))
        details = body.get("detail")
        for detail in details if isinstance(details, list) else ():
            place = detail.get("loc") if isinstance(detail, dict) else None
            found |= {part for part in place if isinstance(part, str)} if isinstance(place, list) else set()
    return frozenset(found)


def _lost(refused: frozenset[str]) -> str:
    """The consequences of leaving out these fields, for a note."""
    lost = []
    if refused & {"ignore_eos", "min_tokens"}:
        lost.append("answers may be shorter than asked for")
    if "cache_salt" in refused:
        lost.append("prompts are kept out of its cache by their first words alone")
    if refused & {"continuous_usage_stats", "stream_options"}:
        lost.append("tokens are not counted in every chunk")
    return f": {', '.join(lost)}" if lost else ""
