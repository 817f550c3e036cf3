"""A server is ready only if its weights produce numbers; an engine without log probabilities is judged by its text."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pytest_llmperf.serving import readiness
from pytest_llmperf.serving.readiness import ProbeTarget, Unready, wait_until_ready

Answer = tuple[int, Any]
# As vLLM 0.32 answers for weights with one NaN in the last norm.
VLLM_NAN = (
    400,
    {
        "error": {
            "message": "Out of range float values are not JSON compliant",
            "type": "BadRequestError",
            "code": 400,
        }
    },
)


def completion(text: str, logprobs: object = None, finish_reason: str = "length", tokens: int = 8) -> Answer:
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
    return 200, {"choices": [choice], "usage": {"completion_tokens": tokens}}


def tokens(*values: object) -> dict[str, object]:
    return {"tokens": ["x"] * len(values), "token_logprobs": list(values)}


@contextmanager
def engine(
    answer: Callable[[dict[str, Any]], Answer], names: Sequence[str] = ("m",)
) -> Iterator[tuple[ProbeTarget, list[dict[str, Any]]]]:
    """A server of models with these names that answers completions so; also returns the bodies that it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": name} for name in names]} if self.path == "/v1/models" else {})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply(*answer(asked[-1]))

        def reply(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield ProbeTarget("127.0.0.1", server.server_port, "m", None), asked
        finally:
            server.shutdown()


def wait(door: ProbeTarget, warm_concurrency: tuple[int, ...] = (1,)) -> list[str]:
    """The steps that were reported."""
    steps: list[str] = []
    wait_until_ready(
        door,
        warm_concurrency=warm_concurrency,
        deadline=time.monotonic() + 20,
        is_ours=lambda: True,
        stop=threading.Event(),
        progress=steps.append,
    )
    return steps


def with_and_without(with_logprobs: Answer, without: Answer) -> Callable[[dict[str, Any]], Answer]:
    return lambda body: with_logprobs if "logprobs" in body else without


NAN = {
    "vLLM, which can't write it": (VLLM_NAN, completion("")),
    "a server that writes NaN": (completion("", tokens(math.nan, -1.0)), completion("")),
    "a server that writes null": (completion("", tokens(*[None] * 8)), completion("")),
    "a server that writes a string": (completion("x", tokens("NaN")), completion("x")),
    "infinity": (completion("x", tokens(-1.0, -math.inf)), completion("x")),
    "the floor of vLLM": (completion("x", tokens(-9999.0)), completion("x")),
    "chat's spelling": (completion("x", {"content": [{"token": "x", "logprob": math.nan}]}), completion("x")),
    "an error of 500 that names it": ((500, "Out of range float values are not JSON compliant: nan"), completion("")),
    "an error of 500 without a word, and invisible text": ((500, "Internal Server Error"), completion("")),
    "no log probabilities, control characters": (completion("\x01\u200b" * 4), completion("")),
    "no log probabilities, bytes that are no text": (completion("\ufffd" * 8), completion("")),
    "no log probabilities, the token of number 0": (completion("!" * 8), completion("!" * 8)),
}  # fmt: skip
FINITE = {
    "log probabilities": (completion("4 5", tokens(-0.1, -2.0)), completion("4 5")),
    "random weights, every token as likely": (
        completion("en In", tokens(*[-6.6438] * 8)),
        completion("en In"),
    ),
    "a certain token": (completion("5", tokens(0.0, -0.0)), completion("5")),
    "invisible text of finite numbers": (completion("\x14" * 8, tokens(*[-1.0] * 8)), completion("")),
    "an engine without log probabilities": (completion("5 6 7"), completion("5 6 7")),
    "an engine that refuses the field": (
        (422, {"error": {"message": "unknown field logprobs"}}),
        completion("5"),
    ),
    "an engine that fails with it": ((500, "Internal Server Error"), completion("5 6 7")),
    "an end at once": (completion("", None, "stop", 1), completion("")),
    "blank lines of a base model": (completion("\n" * 8), completion("\n")),
    "a body of another shape": ((200, {"choices": []}), completion("")),
    "a list": ((200, [1, 2]), completion("")),
    "text that is null": (completion(None), completion("")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("with_logprobs", "without"), NAN.values(), ids=NAN)
def test_weights_that_produce_nan_are_refused_at_the_start(with_logprobs: Answer, without: Answer) -> None:
    refused = pytest.raises(Unready, match="the weights produce NaN or infinity")
    with engine(with_and_without(with_logprobs, without)) as (door, _), refused as caught:
        wait(door)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("with_logprobs", "without"), FINITE.values(), ids=FINITE)
def test_a_server_whose_numbers_are_finite_or_unknown_is_ready(
    with_logprobs: Answer, without: Answer
) -> None:
    with engine(with_and_without(with_logprobs, without)) as (door, _):
        wait(door)


def test_a_generation_that_fails_either_way_is_no_matter_of_nan() -> None:
    failed = pytest.raises(Unready, match="the first generation failed: 500 kernel missing")
    with engine(lambda _: (500, {"error": {"message": "kernel missing"}})) as (door, _), failed:
        wait(door)


@pytest.mark.parametrize(("logprobs", "told"), [(tokens(-1.0), False), (None, True)])
def test_an_engine_that_gives_no_log_probabilities_is_told(logprobs: object, told: bool) -> None:
    with engine(with_and_without(completion("4", logprobs), completion("4"))) as (door, _):
        assert any("no log probabilities" in step for step in wait(door)) is told


def test_every_shape_is_warmed_without_log_probabilities_after_the_check() -> None:
    answer = with_and_without(completion("4", tokens(-1.0)), completion("4"))
    with engine(answer) as (door, asked):
        wait(door, (1, 4))
    assert ["logprobs" in body for body in asked] == [True] + [False] * 5
    assert all(body["max_tokens"] == readiness.TOKENS for body in asked)


def test_every_name_of_a_server_must_be_listed_and_answer_with_numbers() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return VLLM_NAN if body["model"] == "spoilt" else completion("4 5", tokens(-0.1, -2.0))

    with engine(answer, names=("m", "tuned", "spoilt")) as (door, asked):
        steps = wait(replace(door, beside=("tuned",)))
        assert [body["model"] for body in asked] == ["m", "m", "tuned", "tuned"]
        assert "warming up tuned" in steps
        with pytest.raises(Unready, match="the server serves m, tuned, spoilt, not lost"):
            wait(replace(door, beside=("tuned", "lost")))
        with pytest.raises(Unready, match=r"^spoilt: the weights produce NaN"):
            wait(replace(door, beside=("spoilt",)))
