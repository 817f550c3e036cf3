"""Servers that speak another dialect of the API are loaded all the same, and what that costs is said; servers that do
not answer are given up in seconds."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pytest_llmperf.client import capabilities, tokenizer
from pytest_llmperf.client.answers import Answer, Retries, complete_all
from pytest_llmperf.client.capabilities import NOT_OPENAI, declare_plain, without
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.tokenizer import Tokenized, tokenize
from pytest_llmperf.errors import InfrastructureError, NotMeasured, RequestFailed, WrongServer
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load import runner
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.replay import Replay
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Shape, Workload
from pytest_llmperf.serving.server import Server

TEMPLATE = 9
"""Tokens of the fake's chat template."""


@dataclass
class Dialect:
    """How a server behaves; every request's body is kept in ``bodies``."""

    refuse: tuple[str, ...] = ()
    """Request fields that are answered with ``refusal``."""
    refusal: Callable[[str], tuple[int, Any]] = lambda name: (
        400,
        {"error": {"message": f"Unknown parameter: {name}"}},
    )
    tokenize: Callable[[dict[str, Any]], tuple[int, Any]] = lambda body: (404, {"detail": "Not Found"})
    metrics: bytes | None = None
    models: tuple[int, dict[str, str], Any] = (200, {}, {"data": [{"id": "m"}]})
    tokens_per_word: float = 2.0
    usage: bool = True
    retry_after: str = "0"
    location: str = "/"
    says: str = ""
    """In the refusals of ``statuses``."""
    statuses: tuple[int, ...] = ()
    """Of the first generations, in order; after them 200."""
    broken: bool = False
    """Every generation of more than one token answers 500."""
    silent: bool = False
    """No generation is ever answered."""
    hangs: tuple[str, ...] = ()
    """Paths that are never answered."""
    least_tokens: int = 1
    """Smallest ``max_tokens`` that is taken."""
    in_stream: bool = False
    """Refusals come with status 200, as the stream's only event."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    server: Server = field(init=False)

    @property
    def loads(self) -> list[dict[str, Any]]:
        """Bodies of more than one token."""
        return [body for body in self.bodies if limit_of(body) > 1]


def limit_of(body: dict[str, Any]) -> int:
    return int(body["max_completion_tokens"] if "max_completion_tokens" in body else body["max_tokens"])


Serve = Callable[[Dialect], Dialect]


@pytest.fixture
def serve() -> Iterator[Serve]:
    ends: list[Callable[[], None]] = []

    def start(dialect: Dialect) -> Dialect:
        over = threading.Event()
        statuses = list(dialect.statuses)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments: Any) -> None:
                return

            def do_GET(self) -> None:
                dialect.paths.append(self.path)
                if self.path in dialect.hangs:
                    over.wait(30)
                    return
                if self.path == "/v1/models":
                    self.send(*dialect.models)
                elif self.path == "/metrics" and dialect.metrics is not None:
                    self.send(200, {}, dialect.metrics)
                else:
                    self.send(404, {}, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path in dialect.hangs:
                    over.wait(30)
                    return
                if self.path == "/tokenize":
                    status, answer = dialect.tokenize(body)
                    self.send(status, {}, answer)
                    return
                dialect.bodies.append(body)
                if dialect.silent:
                    over.wait(30)
                    return
                fields = {**body, **(body.get("stream_options") or {})}
                for name in dialect.refuse:
                    if name in fields:
                        status, answer = dialect.refusal(name)
                        if dialect.in_stream:
                            status, answer = 200, b"data: %s\n\n" % json.dumps(answer).encode()
                        self.send(status, {}, answer)
                        return
                if limit_of(body) < dialect.least_tokens:
                    text = (
                        f"Invalid 'max_tokens': below the minimum value, expected >= {dialect.least_tokens}"
                    )
                    self.send(400, {}, {"error": {"message": text, "param": "max_tokens"}})
                    return
                status = statuses.pop(0) if statuses else 200
                if dialect.broken and limit_of(body) > 1:
                    status = 500
                if status != 200:
                    headers = {"Retry-After": dialect.retry_after, "Location": dialect.location}
                    self.send(status, headers, {"error": {"message": dialect.says or f"planted {status}"}})
                    return
                self.generate(body)

            def generate(self, body: dict[str, Any]) -> None:
                text = body["messages"][0]["content"] if "messages" in body else body["prompt"]
                prompt = round(TEMPLATE + dialect.tokens_per_word * len(text.split()))
                chat = "messages" in body
                events: list[dict[str, Any]] = []
                for number in range(limit_of(body)):
                    last = number == limit_of(body) - 1
                    piece: dict[str, Any] = {"delta": {"content": " x"}} if chat else {"text": " x"}
                    events.append(
                        {"choices": [{"index": 0, **piece, "finish_reason": "length" if last else None}]}
                    )
                    if dialect.usage and "continuous_usage_stats" in body.get("stream_options", {}):
                        events[-1]["usage"] = {"prompt_tokens": prompt, "completion_tokens": number + 1}
                if dialect.usage and "stream_options" in body:
                    usage = {"prompt_tokens": prompt, "completion_tokens": limit_of(body)}
                    events.append({"choices": [], "usage": usage})
                data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
                self.send(200, {"Content-Type": "text/event-stream"}, data.encode())

            def send(self, status: int, headers: dict[str, str], answer: Any) -> None:
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Listener(ThreadingHTTPServer):
            daemon_threads = True

        listener = Listener(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{listener.server_port}"
        dialect.server = Server("row", "m", url, None, None, None, None, "", "url")

        def end() -> None:
            over.set()
            listener.shutdown()
            thread.join()
            listener.server_close()

        ends.append(end)
        return dialect

    yield start
    for end in ends:
        end()


def loaded(
    dialect: Dialect,
    workload: Workload | None = None,
    *,
    concurrency: int = 2,
    requests: int = 4,
    **options: Any,
) -> LoadRun:
    workload = workload or Workload(input_tokens=60, output_tokens=5)
    return run_load(dialect.server, workload, ClosedLoop(concurrency, requests), SendOptions(**options))


REFUSALS: dict[str, Callable[[str], tuple[int, Any]]] = {
    "openai": lambda name: (400, {"error": {"message": f"Unrecognized request argument supplied: {name}"}}),
    "param": lambda name: (400, {"error": {"message": "Unknown parameter.", "param": name}}),
    "fastapi": lambda name: (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", name],
                    "input": {"ignore_eos": 1, "min_tokens": 1},
                }
            ]
        },
    ),
    "text": lambda name: (400, b'json: unknown field "%s"' % name.encode()),
    "nameless": lambda name: (400, {"error": "Extra inputs are not permitted"}),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize(
    "refuse",
    [("ignore_eos",), ("min_tokens", "ignore_eos"), ("continuous_usage_stats",), ("stream_options",)],
    ids=" ".join,
)
def test_a_server_that_refuses_a_field_of_ours_is_loaded_without_it(
    serve: Serve, refuse: tuple[str, ...], refusal: str
) -> None:
    dialect = serve(Dialect(refuse=refuse, refusal=REFUSALS[refusal]))
    run = loaded(dialect)
    assert all(trace.finish_reason == "length" for trace in run.traces)
    assert len(dialect.loads) == 6
    for body in dialect.loads:
        assert not {*body, *body.get("stream_options", {})} & set(refuse)
    (note,) = dialect.server.capabilities.notes
    assert all(name in note for name in refuse)


def test_what_was_found_out_is_kept_with_the_server(serve: Serve) -> None:
    dialect = serve(Dialect(refuse=("ignore_eos", "min_tokens")))
    loaded(dialect)
    asked = len(dialect.bodies)
    loaded(dialect)
    assert len(dialect.bodies) == asked + 6
    assert len(dialect.server.capabilities.notes) == 1


def test_a_field_that_the_user_has_set_is_never_left_out(serve: Serve) -> None:
    dialect = serve(Dialect(refuse=("top_k",)))
    with pytest.raises(RequestFailed, match="refuses top_k, which the load is to send"):
        loaded(dialect, Workload(sampling={"top_k": 20}))
    dialect = serve(Dialect(refuse=("min_tokens",)))
    with pytest.raises(RequestFailed, match="refuses min_tokens, which the load is to send"):
        loaded(dialect, Workload(sampling={"min_tokens": 3}))
    assert without({"min_tokens": 3, "ignore_eos": True}, NOT_OPENAI, keep=["min_tokens"]) == {
        "min_tokens": 3
    }


def test_a_row_may_say_that_the_server_takes_openais_fields_alone(serve: Serve) -> None:
    dialect = serve(Dialect())
    declare_plain(dialect.server.capabilities)
    declare_plain(dialect.server.capabilities)
    loaded(dialect)
    for body in dialect.loads:
        assert not set(body) & NOT_OPENAI
        assert body["stream_options"] == {"include_usage": True}
    (note,) = dialect.server.capabilities.notes
    assert note.startswith("extra_body = false")
    assert "answers may be shorter than asked for" in note


def test_a_server_that_tells_vllms_metrics_is_not_asked_which_fields_it_takes(serve: Serve) -> None:
    metrics = b"vllm:prefix_cache_queries_total 1\nvllm:prefix_cache_hits_total 0\n"
    dialect = serve(
        Dialect(metrics=metrics, tokenize=lambda body: (200, {"count": TEMPLATE + 3 * len(str(body))}))
    )
    loaded(dialect)
    assert len(dialect.bodies) == 6
    assert all("cache_salt" in body for body in dialect.bodies)


NO_TOKENIZE: dict[str, tuple[int, Any]] = {
    "llama.cpp": (200, {"tokens": []}),
    "forbidden": (403, {"error": "Forbidden"}),
    "none": (404, {"detail": "Not Found"}),
    "method": (405, {"detail": "Method Not Allowed"}),
    "not implemented": (501, b""),
    "gateway": (502, b"<html><title>502 Bad Gateway</title></html>"),
    "validation": (422, {"detail": [{"loc": ["body", "content"], "msg": "field required"}]}),
    "html": (200, b"<!doctype html><html><body>hello</body></html>"),
    "null": (200, b"null"),
    "zero": (200, {"count": 0, "tokens": []}),
    "negative": (200, {"count": -3}),
    "text": (200, {"count": "12"}),
    "huge": (200, {"count": 10**30}),
    "nan": (200, b'{"count": NaN}'),
    "always the same": (200, {"count": 7}),
}


@pytest.mark.parametrize("kind", NO_TOKENIZE)
def test_a_server_that_counts_no_tokens_is_loaded_by_its_usage(serve: Serve, kind: str) -> None:
    dialect = serve(Dialect(tokenize=lambda body: NO_TOKENIZE[kind]))
    run = loaded(dialect)
    assert (
        "estimated at 60 tokens by its usage of two other prompts: the server has no /tokenize ("
        in run.prompts_note
    )
    assert {trace.prompt_tokens for trace in run.traces} <= {59, 60, 61}
    assert dialect.server.capabilities.tokenize is False


@pytest.mark.parametrize(("usage", "per_word"), [(False, 2.0), (True, 0.0), (True, 900.0)])
def test_a_usage_that_says_nothing_leaves_an_estimate(serve: Serve, usage: bool, per_word: float) -> None:
    run = loaded(serve(Dialect(usage=usage, tokens_per_word=per_word)))
    assert run.prompts_note.startswith(
        "prompts are estimated at 60 tokens: the server has no /tokenize (HTTP 404"
    )


def test_a_trace_is_replayed_at_a_server_without_a_tokenizer(serve: Serve) -> None:
    dialect = serve(Dialect())
    replay = Replay(Schedule("trace", (0.0, 0.01, 0.02)), (Shape(40, 2), Shape(90, 3), Shape(40, 2)))
    run = run_load(dialect.server, Workload(), OpenLoop(replay.schedule, replay.shapes))
    assert [trace.prompt_tokens for trace in run.traces] == pytest.approx([40, 90, 40], abs=1)
    assert "40 to 90 tokens by its usage" in run.prompts_note


def test_given_prompts_are_sent_as_they_are_and_their_own_fields_stay(serve: Serve) -> None:
    dialect = serve(Dialect(refuse=("ignore_eos", "min_tokens")))
    given = PromptSet("two", [{"prompt": "a b", "max_tokens": 3}, {"prompt": "c d", "max_tokens": 3}])
    loaded(dialect, Workload(given=given), requests=2)
    assert [body["max_tokens"] for body in dialect.loads] == [3] * 4


def asked(dialect: Dialect, count: int = 4, **more: Any) -> list[Answer]:
    body: JsonObject = {
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 3,
        "temperature": 0.0,
    }
    return complete_all(dialect.server, [body] * count, **({"concurrency": 2} | more))


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("refuse", ["continuous_usage_stats", "stream_options"])
def test_an_evaluation_learns_from_the_first_refusal(serve: Serve, refuse: str, refusal: str) -> None:
    dialect = serve(Dialect(refuse=(refuse,), refusal=REFUSALS[refusal]))
    answers = asked(dialect, 6)
    assert all(answer.ok and answer.attempts == 1 for answer in answers)
    assert len(dialect.bodies) <= 6 + 2
    (note,) = dialect.server.capabilities.notes
    assert refuse in note


@pytest.mark.parametrize(
    "message",
    [
        "unexpected error",
        "the prompt is too long: extra 9 tokens",
        "temperature is unsupported with this model",
    ],
)
def test_a_refusal_of_the_request_itself_is_not_taken_for_one_of_our_fields(
    serve: Serve, message: str
) -> None:
    dialect = serve(
        Dialect(refuse=("messages",), refusal=lambda name: (400, {"error": {"message": message}}))
    )
    answers = asked(dialect, 2)
    assert [answer.error.partition(message)[1] for answer in answers] == [message] * 2
    assert len(dialect.bodies) == 2
    assert dialect.server.capabilities.notes == []


def test_retry_after_is_waited_for_and_no_longer_than_the_limit(serve: Serve) -> None:
    dialect = serve(Dialect(statuses=(429, 503), retry_after="0.3"))
    began = time.monotonic()
    (answer,) = asked(dialect, 1, retries=Retries(first_wait_s=0.001))
    assert answer.ok
    assert answer.attempts == 3
    assert time.monotonic() - began >= 0.6
    dialect = serve(Dialect(statuses=(429,) * 9, retry_after="3600"))
    began = time.monotonic()
    (answer,) = asked(dialect, 1)
    assert "it asks to wait 3600, at most 60 s are waited" in answer.error
    assert len(dialect.bodies) == 1
    assert time.monotonic() - began < 5


def test_a_server_that_never_answers_an_evaluation_is_given_up_after_one_wave(serve: Serve) -> None:
    dialect = serve(Dialect(silent=True))
    answers = asked(dialect, 40, timeout_s=0.2, whole=True)
    assert not any(answer.ok for answer in answers)
    assert len(dialect.bodies) <= 4


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (307, "redirects to '/elsewhere'"),
        (403, "forbids the request: HTTP 403: planted 403"),
        (401, "the API key"),
    ],
)
def test_an_evaluation_ends_at_once_where_no_request_can_fare_better(
    serve: Serve, status: int, says: str
) -> None:
    dialect = serve(Dialect(statuses=(status,) * 50, location="/elsewhere"))
    with pytest.raises(WrongServer, match=re.escape(says)):
        asked(dialect, 50)
    assert len(dialect.bodies) <= 4


@pytest.mark.parametrize("count", [10**30, -1, 1.5, True, "7", None, [3]])
def test_a_count_of_tokens_that_cannot_be_is_not_believed(count: Any) -> None:
    usage = {
        "prompt_tokens": count,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": count},
    }
    event = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    reply = Reply(status=200, ending=Ending.COMPLETE, body=bytearray(json.dumps(event).encode()))
    trace = trace_of(reply, whole=True)
    assert trace.ok
    assert (trace.prompt_tokens, trace.cached_tokens, trace.completion_tokens) == (None, None, 2)


@pytest.mark.parametrize(
    "answer", [{"tokens": []}, {"tokens": [10**30]}, {"tokens": [-1]}, {"tokens": ["a"]}, b"<html>", {}]
)
def test_a_tokenizer_of_another_dialect_says_nothing_of_a_prompt(serve: Serve, answer: Any) -> None:
    dialect = serve(Dialect(tokenize=lambda body: (200, answer)))
    assert tokenize(dialect.server, [{"prompt": "x"}]) == [None]


@pytest.mark.parametrize("limit", [0, -1, 10**30, "2048", 1.5, True])
def test_a_context_length_that_cannot_be_is_not_believed(serve: Serve, limit: Any) -> None:
    dialect = serve(Dialect(tokenize=lambda body: (200, {"tokens": [1, 2], "max_model_len": limit})))
    assert tokenize(dialect.server, [{"prompt": "x"}]) == [Tokenized((1, 2), None)]


@pytest.mark.parametrize("statuses", [(503,), (429, 429)])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(serve: Serve, statuses: tuple[int, ...]) -> None:
    assert all(trace.ok for trace in loaded(serve(Dialect(statuses=statuses))).traces)


def test_a_server_that_never_answers_is_given_up_at_the_first_token(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capabilities, "PROBE_S", 0.2)
    dialect = serve(Dialect(silent=True))
    began = time.monotonic()
    with pytest.raises(RequestFailed, match=r"a request for one token got no answer .*; no load was sent"):
        loaded(dialect)
    assert time.monotonic() - began < 5
    assert len(dialect.bodies) == 1


def test_a_load_whose_warm_up_failed_is_not_sent(serve: Serve) -> None:
    dialect = serve(Dialect(broken=True))
    with pytest.raises(
        NotMeasured, match=r"all 2 requests of the warm-up of row failed.*HTTP 500: planted 500"
    ):
        loaded(dialect, requests=256)
    assert len(dialect.loads) == 2


def test_two_rounds_without_an_answer_end_a_load(serve: Serve) -> None:
    dialect = serve(Dialect(broken=True))
    run = loaded(dialect, requests=256, warmup=0)
    assert not any(trace.ok for trace in run.traces)
    assert 4 <= len(dialect.loads) <= 5


def test_one_answer_keeps_a_load_going(serve: Serve) -> None:
    dialect = serve(Dialect(statuses=(200, 200, 200, 200, *[500] * 30)))
    run = loaded(dialect, requests=40, warmup=0, concurrency=1)
    assert len(run.traces) == 40


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_load_is_named_and_not_followed(serve: Serve, status: int) -> None:
    other = serve(Dialect())
    moved = serve(Dialect(models=(status, {"Location": f"{other.server.base_url}/v1/models"}, b"")))
    with pytest.raises(WrongServer, match=f"HTTP {status} redirects to '{other.server.base_url}/v1/models'"):
        loaded(moved)
    assert other.paths == []


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ((403, {}, b"error code: 1010"), "HTTP 403: error code: 1010"),
        ((200, {}, {"data": [{"id": f"m{n}"} for n in range(400)]}), "it serves 400 models, among them"),
    ],
)
def test_who_refuses_or_serves_others_is_named_shortly(
    serve: Serve, models: tuple[int, dict[str, str], Any], says: str
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        loaded(serve(Dialect(models=models)))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


OTHER_NAME: dict[str, tuple[int, Any]] = {
    "openai": (
        400,
        {
            "error": {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            }
        },
    ),
    "azure": (
        400,
        {"error": {"message": "max_tokens is deprecated; write max_completion_tokens", "param": None}},
    ),
    "litellm": (
        400,
        {"error": {"message": "litellm.BadRequestError: max_tokens unknown, see max_completion_tokens"}},
    ),
    "fastapi": (
        422,
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "replaced by max_completion_tokens"}]},
    ),
}


@pytest.mark.parametrize("in_stream", [False, True])
@pytest.mark.parametrize("refusal", OTHER_NAME)
@pytest.mark.parametrize("plain", [False, True])
def test_a_limit_that_is_taken_under_another_name_is_sent_under_it(
    serve: Serve, refusal: str, plain: bool, in_stream: bool
) -> None:
    dialect = serve(
        Dialect(refuse=("max_tokens",), refusal=lambda name: OTHER_NAME[refusal], in_stream=in_stream)
    )
    if plain:
        declare_plain(dialect.server.capabilities)
    run = loaded(dialect)
    assert all(trace.ok for trace in run.traces)
    assert [limit_of(body) for body in dialect.loads] == [5] * 6
    assert sum("max_tokens" in body for body in dialect.bodies) == 1
    notes = dialect.server.capabilities.notes
    assert sum("chats are sent with max_completion_tokens" in note for note in notes) == 1
    dialect.bodies.clear()
    assert all(answer.ok for answer in asked(dialect))
    assert not any("max_tokens" in body for body in dialect.bodies)


def test_an_evaluation_learns_the_other_name_of_the_limit(serve: Serve) -> None:
    dialect = serve(Dialect(refuse=("max_tokens",), refusal=lambda name: OTHER_NAME["openai"]))
    answers = asked(dialect, 9)
    assert all(answer.ok and answer.attempts == 1 for answer in answers)
    assert sum("max_tokens" in body for body in dialect.bodies) <= 2
    (note,) = dialect.server.capabilities.notes
    assert "refuses max_tokens" in note


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096",
        "max_tokens is too large: 9. This model supports at most 4 max_completion_tokens",
        "max_tokens and max_completion_tokens exceed what is allowed",
    ],
)
def test_a_limit_that_is_too_high_is_no_refusal_of_its_name(serve: Serve, message: str) -> None:
    dialect = serve(
        Dialect(refuse=("messages",), refusal=lambda name: (400, {"error": {"message": message}}))
    )
    assert not any(answer.ok for answer in asked(dialect, 2))
    assert dialect.server.capabilities.notes == []
    assert dialect.server.capabilities.refused == frozenset()


@pytest.mark.parametrize("least", [2, 5])
def test_a_server_that_takes_no_limit_of_one_token_is_loaded(serve: Serve, least: int) -> None:
    run = loaded(serve(Dialect(least_tokens=least)))
    assert all(trace.ok for trace in run.traces)


@pytest.mark.parametrize("refuse", [("ignore_eos",), ("min_tokens", "ignore_eos")], ids=" ".join)
def test_a_refusal_within_the_stream_is_learnt_from(serve: Serve, refuse: tuple[str, ...]) -> None:
    dialect = serve(Dialect(refuse=refuse, in_stream=True, refusal=lambda name: REFUSALS["openai"](name)))
    assert all(trace.ok for trace in loaded(dialect).traces)
    (note,) = dialect.server.capabilities.notes
    assert all(name in note for name in refuse)


def test_a_keyword_that_pythons_server_did_not_expect_is_left_out(serve: Serve) -> None:
    def refusal(name: str) -> tuple[int, Any]:
        return 500, {"error": {"message": f"create() got an unexpected keyword argument '{name}'"}}

    dialect = serve(Dialect(refuse=("ignore_eos", "min_tokens"), refusal=refusal))
    assert all(trace.ok for trace in loaded(dialect).traces)
    assert dialect.server.capabilities.refused == {"ignore_eos", "min_tokens"}


@pytest.mark.parametrize("path", ["/metrics", "/tokenize"])
def test_a_path_that_is_never_answered_is_waited_for_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(runner, "_METRICS_S", 0.3)
    monkeypatch.setattr(tokenizer, "FIRST_S", 0.3)
    dialect = serve(Dialect(hangs=(path,)))
    began = time.monotonic()
    assert all(trace.ok for trace in loaded(dialect).traces)
    assert all(trace.ok for trace in loaded(dialect).traces)
    assert time.monotonic() - began < 5
    assert dialect.paths.count("/metrics") <= 8
    if path == "/metrics":
        # One question before the load, and the one within it that ends with the load.
        (note,) = dialect.server.capabilities.notes
        assert "/metrics was not answered within 0.3 s" in note
    else:
        assert "no complete response within 0.3 s" in dialect.server.capabilities.no_tokenize


VLLM = b"vllm:prefix_cache_queries_total 1\nvllm:prefix_cache_hits_total 0\nvllm:generation_tokens_total 7\n"


@pytest.mark.parametrize("way", ["load", "evaluation"])
def test_a_server_that_hangs_at_its_first_generation_is_dead_within_the_limit(serve: Serve, way: str) -> None:
    declared: list[str] = []
    dialect = serve(
        Dialect(
            metrics=VLLM + b"vllm:time_per_output_token_seconds_sum 9.5e-05\nvllm:x_tokens NaN\n",
            silent=True,
            tokenize=lambda body: (200, {"count": TEMPLATE + 3 * len(str(body))}),
        )
    )
    dialect.server = replace(dialect.server, silence_limit_s=0.8, on_silence=declared.append)
    began = time.monotonic()
    if way == "load":
        with pytest.raises(
            NotMeasured, match=r"all 2 requests of the warm-up .* taken for dead: no byte came"
        ):
            loaded(dialect, requests=64)
    else:
        assert all("taken for dead" in answer.error for answer in asked(dialect, 12, retries=Retries(1)))
    assert time.monotonic() - began < 6
    (why,) = declared
    assert "counters of tokens stand still" in why
    assert len(dialect.bodies) == 2


@pytest.mark.parametrize(
    "details",
    [
        [{"loc": 1}],
        [{"loc": None}, 3, []],
        [[0], "model", {"loc": {"body": "ignore_eos"}}],
        {"loc": ["body", "x"]},
    ],
)
def test_a_refusal_of_no_known_form_is_about_no_field(serve: Serve, details: Any) -> None:
    dialect = serve(Dialect(refuse=("messages",), refusal=lambda name: (422, {"detail": details})))
    assert all("HTTP 422" in answer.error for answer in asked(dialect, 2))
    assert dialect.server.capabilities.refused == frozenset()


KEY = "a-key-without-a-known-look"


@pytest.mark.parametrize(
    ("way", "status"),
    [(way, status) for way in ("load", "evaluation") for status in (302, 401, 403)] + [("evaluation", 404)],
)
def test_a_key_that_the_server_repeats_is_in_no_error(serve: Serve, status: int, way: str) -> None:
    answer = {"error": {"message": f"Bad key {KEY}"}}
    location = f"/login?key={KEY}"
    dialect = serve(
        Dialect(models=(status, {"Location": location}, answer))
        if way == "load"
        else Dialect(statuses=(status,) * 9, location=location, says=f"Bad key {KEY}")
    )
    dialect.server = replace(dialect.server, api_key=KEY)
    with pytest.raises(WrongServer) as caught:
        loaded(dialect) if way == "load" else asked(dialect, 3)
    assert KEY not in str(caught.value)
    assert str(status) in str(caught.value)


def test_a_compressed_stream_is_named_as_such() -> None:
    reply = Reply(status=200, ending=Ending.COMPLETE, body=bytearray(b"\x1f\x8b\x08data"))
    reply.head = {b"Content-Encoding": b"gzip"}
    reply.times.append(1.0)
    reply.ends.append(len(reply.body))
    trace = trace_of(reply)
    assert not trace.ok
    assert "compressed (Content-Encoding: gzip)" in trace.error


@pytest.mark.parametrize("status", [499, 520, 524, 529])
def test_a_gateways_own_statuses_are_asked_again(serve: Serve, status: int) -> None:
    dialect = serve(Dialect(statuses=(status,)))
    (answer,) = asked(dialect, 1, retries=Retries(first_wait_s=0.001))
    assert answer.ok
    assert answer.attempts == 2
