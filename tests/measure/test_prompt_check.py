"""A server without ``/tokenize`` is asked for one token: what it counts shows whether it renders the chat as we do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome as Ending
from pytest_llmperf.config.models import Model, PromptRules
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.measure import prompt_check
from pytest_llmperf.measure.answers import behaviour_of
from pytest_llmperf.measure.evaluation import Evaluation
from pytest_llmperf.measure.prompt_check import PromptCheck
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.task import Item, Task

TOKENS = 12
"""Of every text, by the tokenizer of the weights."""


class Silent(BaseHTTPRequestHandler):
    """Lists its model and answers chats; knows of no tokenizer."""

    protocol_version = "HTTP/1.1"
    counts = TOKENS
    asked: list[int]

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        return

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": "m"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.say(404, {"detail": "Not Found"})
            return
        # Attaching to a server asks for log probabilities, to find weights that produce NaN.
        if not body.get("logprobs"):
            self.asked.append(body["max_tokens"])
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}
        usage = {"prompt_tokens": self.counts, "completion_tokens": 1}
        self.say(200, {"choices": [choice], "usage": usage})

    def say(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def counting_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Served, list[int]]]]:
    """``counting_server(counts)``: a row at a server that counts so many tokens of a chat, and the lengths that it was
    asked for."""
    monkeypatch.setattr(prompt_check, "can_count_locally", lambda directory: True)
    monkeypatch.setattr(
        prompt_check, "count_locally", lambda directory, texts, special_tokens: [TOKENS for _ in texts]
    )
    servers: list[ThreadingHTTPServer] = []

    def start(counts: int, **keys: object) -> tuple[Served, list[int]]:
        asked: list[int] = []
        handler = type("Counting", (Silent,), {"counts": counts, "asked": asked})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        row = Model(
            name="m",
            profile="p",
            engine="url",
            base_url=f"http://127.0.0.1:{server.server_port}",
            max_model_len=2048,
            **{"weights": "embedded:tiny-math"} | keys,  # type: ignore[arg-type]
        )
        return Served(row, tmp_path, lambda _: None), asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Replying(Evaluation):
    """An evaluation whose server gives the same reply to everything."""

    reply: str = ""

    def answers(
        self, served: Served, bodies: Sequence[Mapping[str, Any]], *more: object
    ) -> tuple[list[Answer], float]:
        ok = Answer(0, self.reply, "", "stop", TOKENS, 1, None, Ending.OK, "", 1, 1.0)
        return [ok for _ in bodies], 1.0


def ignore(*_: object) -> None: ...


def look(served: Served) -> PromptCheck:
    check = PromptCheck()
    asks = [ask(served.model, f"How many legs do {n} cats have?") for n in (2, 3)]
    check.look(served, "cats", variants.model_default, asks, ["two", "three"])
    return check


@pytest.mark.parametrize(
    ("opening", "row", "reply", "outcome"),
    [
        ("<think>\\n", False, "So \\boxed{12}.", Outcome.INCOMPLETE),
        ("<think>\\n", False, "So.\n</think>\n\\boxed{12}", Outcome.CORRECT),
        ("<think>\\n\\n</think>\\n\\n", True, "\\boxed{12}", Outcome.CORRECT),
        ("", False, "\\boxed{12}", Outcome.CORRECT),
        ("", True, "\\boxed{12}", Outcome.INCOMPLETE),
    ],
    ids=["opened and never ended", "opened and ended", "closed and accepted", "silent", "silent, promised"],
)
def test_a_reply_is_read_from_where_its_prompt_ends_whatever_the_row_promises(
    opening: str,
    row: bool,
    reply: str,
    outcome: Outcome,
    counting_server: Callable[..., tuple[Served, list[int]]],
    tmp_path: Path,
) -> None:
    source = f"<|user|>{{{{ messages[-1].content }}}}<|assistant|>{{{{ '{opening}' }}}}"
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "tokenizer_config.json").write_text(json.dumps({"chat_template": source}))
    (weights / "config.json").write_text("{}")
    (weights / "pytorch_model.bin").write_bytes(bytes(8))
    promises = PromptRules(thinking=row, accepts=("closed-think",))
    served, _ = counting_server(TOKENS, weights=str(weights), rules=promises)
    task = Task("cats", source=cast(Any, None))
    items = [Item("three", "How many legs do 3 cats have?", "12")]
    evaluation = Replying(cast(Any, SimpleNamespace(memory=ignore)), cast(Any, None), reply=reply)
    ((asked,), _) = evaluation.graded(served, task, variants.model_default, items, "", 0, 1)
    assert asked.grade.outcome is outcome
    assert behaviour_of(asked, thinking=row).boxed is (outcome is Outcome.CORRECT)


def test_as_many_tokens_as_ours_is_the_same_template(
    counting_server: Callable[..., tuple[Served, list[int]]],
) -> None:
    served, asked = counting_server(TOKENS)
    (about,) = look(served).facts()
    assert (about["same_on_server"], about["counted_by"], about["longest_tokens"]) == (
        True,
        "tokenizer",
        TOKENS,
    )
    assert about["count"] == 2
    assert asked == [1], "one token, once"


def test_another_number_of_tokens_refuses_the_task(
    counting_server: Callable[..., tuple[Served, list[int]]],
) -> None:
    served, asked = counting_server(TOKENS + 1)
    with pytest.raises(
        NotMeasured, match=r"(?s)m: cats was not asked: .* 13 tokens .* 12 of the text.*item 'two'"
    ):
        look(served)
    assert asked == [1]


def test_a_prompt_that_leaves_no_room_refuses_the_task_by_the_weights_tokenizer(
    counting_server: Callable[..., tuple[Served, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, _ = counting_server(1025)
    monkeypatch.setattr(
        prompt_check, "count_locally", lambda directory, texts, special_tokens: [1025 for _ in texts]
    )
    with pytest.raises(NotMeasured, match=r"1,025 tokens.*1,024 are left"):
        look(served)
