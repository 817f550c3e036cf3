"""A stand-in for vLLM's OpenAI server: the same doors and the same family of processes, no model.

Use it as a row's interpreter, with the whole path of the plugin in front of it::

    engine_python = "…/tests/fakes/engine_python"      # any machine path
    [….environment]
    FAKE_ENGINE_ANSWER = "<think>\\n2 + 2\\n</think>\\nThe answer is \\\\boxed{4}."

It starts in about 0.1 s, needs the standard library only (and jinja2 for a chat in ``/tokenize``), and
understands of vLLM's arguments ``--host --port --served-model-name --lora-modules --model --max-model-len --seed
--kv-cache-memory-bytes``; all others are accepted and ignored. It knows adapters by their names, and answers all alike
unless ``FAKE_ENGINE_ANSWERS`` looks at ``request["model"]``.
``VLLM_API_KEY`` is checked as vLLM checks it. Its process tree is vLLM's: API process → engine → worker;
the worker ignores SIGTERM, and only an API process that ends in order takes the others with it.

What it answers (all through the environment):

``FAKE_ENGINE_ANSWER``       the text of every answer; default ``The answer is \\boxed{42}.``
``FAKE_ENGINE_ANSWERS``      a Python file with ``def answer(request: dict) -> str | dict``; gets the request
                             body plus ``"path"`` and ``"text"`` (the prompt, or the messages joined); a
                             dictionary may set ``text``, ``ttft_s``, ``tpot_s``, ``finish_reason``, ``status``
                             and ``tool_calls`` (a list of names and arguments)
``FAKE_ENGINE_TTFT_S``       delay before the first token, seconds; default 0
``FAKE_ENGINE_TPOT_S``       delay before each further token, seconds; default 0
``FAKE_ENGINE_TOKENS_PER_CHUNK``  tokens in one stream event; default 1
``FAKE_ENGINE_SURPRISE``     by how much texts surprise it: scales the log probability of every prompt token
``FAKE_ENGINE_LOGITS``       of the few tokens that answers with ``return_token_ids`` are drawn from, each on its own:
                             default ``2 1 0.5 0``; and by which ``prompt_logprobs`` of token ids scores them
``FAKE_ENGINE_DECODES``      the logits that such answers are drawn from where they are others than those of prompts
``FAKE_ENGINE_WARM``         the logits of an answer whose prompt and ``cache_salt`` it has seen before
``FAKE_ENGINE_PREFIX_CACHE``  ``off``: it has none; ``untold``: it counts no hits; ``usage``: usage has them as well;
                             ``unsalted``: it does not keep salts apart; ``blocks``: it finds beginnings of prompts,
                             in blocks of four tokens; ``blocks usage``, ``off usage``: usage has them as well
``FAKE_ENGINE_ACCEPTS``      it speculates with four draft tokens a step, of which so many are accepted on average
``FAKE_ENGINE_DRAFTS``       ``request``: streams tell it in their last chunk as well as ``/metrics``
``FAKE_ENGINE_FAIL_SCORES``  one in so many prompts whose log probabilities are asked for is answered with HTTP 400
``FAKE_ENGINE_NO_SCORES``    ``1``: ``prompt_logprobs`` of token ids are ignored, and ``echo`` with them; ``echo``: only
                             the latter is understood
``FAKE_ENGINE_LIKES``        a Python file with ``def likes(before: str, token: str) -> tuple[float, float]``: how it
                             scores token ids of ``/tokenize``, as the log probability of a token after a text, and
                             that of the most likely one there
``FAKE_ENGINE_TOKEN_TEXT``   what the text of each such token begins with; default ``t``
``FAKE_ENGINE_TOKEN_IDS``    ``0``: ``return_token_ids`` is ignored
``FAKE_ENGINE_LOSES``        name of an adapter or alias that it neither lists nor serves
``FAKE_ENGINE_SERVES``       name to list and serve in place of ``--served-model-name``
``FAKE_ENGINE_TEMPLATE``     a file with the chat template of ``/tokenize``, in place of the weights' own
``FAKE_ENGINE_TOKENIZE``     ``0``: there is neither ``/tokenize`` nor ``/detokenize``
``FAKE_ENGINE_NAN``          ``1``: asked for log probabilities, it answers as vLLM does whose weights hold NaN
``FAKE_ENGINE_BREAK``        a path whose every request answers 500, e.g. ``/v1/completions``

How it starts and ends:

``FAKE_ENGINE_START_S``      seconds until it listens; default 0
``FAKE_ENGINE_NEVER_READY``  ``1``: it never listens
``FAKE_ENGINE_PARTNERS``     a directory: with ``--kv-cache-memory-bytes`` it listens only while another one starts so
``FAKE_ENGINE_NO_ROOM``      ``1``: with ``--kv-cache-memory-bytes`` it ends for want of memory
``FAKE_ENGINE_FAIL``         prints this text (``@FILE``: the file's) to its log and exits with 1
``FAKE_ENGINE_FAIL_TIMES``   only that many starts fail; counted in the file ``FAKE_ENGINE_COUNTER``
``FAKE_ENGINE_COUNTER``      a file that gets one line (the port) for every start
``FAKE_ENGINE_IGNORE_TERM``  ``1``: the API process ignores SIGTERM
``FAKE_ENGINE_OWN_SESSION``  ``1``: the engine is in a session of its own
``FAKE_ENGINE_LATE_S``       seconds after which the engine gets its session and forks its worker
``FAKE_ENGINE_DIE_AFTER``    the API process kills itself at its n-th generation after the first
``FAKE_ENGINE_MB``           the worker touches that many MiB of memory

A running one obeys, with the API key: ``POST /fake/die`` (SIGKILL to the API process), ``/fake/exit``
(exit code 1 after an engine error in the log, as vLLM does when its engine dies), ``/fake/freeze`` (SIGSTOP
to itself), ``/fake/pids`` (numbers of all three), ``/fake/close`` (no longer listens, and goes on with what
it has, as vLLM does at SIGTERM).

A token is a word with the space before it; ``max_tokens``, ``ignore_eos``, ``stream``, ``n``,
``stream_options.include_usage`` and ``echo`` with ``logprobs`` (each token −1.0) are honoured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def knob(name: str, default: str = "") -> str:
    return os.environ.get(f"FAKE_ENGINE_{name}", default)


def say(text: str, who: str = "APIServer", level: str = "INFO") -> None:
    prefix = f"({who} pid={os.getpid()}) {level} {time.strftime('%m-%d %H:%M:%S')} [fake_engine.py:1] "
    sys.stdout.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
    sys.stdout.flush()


# -- the family of processes ------------------------------------------------------------------------


def leave_files() -> None:
    """As vLLM does: sockets by which its processes talk, and its rendezvous, which nobody removes."""
    Path(tempfile.gettempdir(), f"vllm_dist_{uuid.uuid4().hex}").touch()
    name = f"{os.environ.get('VLLM_RPC_BASE_PATH', tempfile.gettempdir())}/{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(name)


def start_engine() -> int:
    """API → engine → worker by forks; returns the engine's number. Must run before any thread starts."""
    leave_files()
    engine = os.fork()
    if engine:
        return engine
    time.sleep(float(knob("LATE_S", "0")))
    if knob("OWN_SESSION") == "1":
        os.setsid()
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ballast = bytearray(b"x") * (int(knob("MB", "0")) * 1024 * 1024)
        sleep_for_ever(ballast)
    say("Initializing a V1 LLM engine (fake)", "EngineCore")
    sleep_for_ever(None)
    raise AssertionError


def sleep_for_ever(ballast: object) -> None:
    while True:
        time.sleep(3600)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(entry.name), *children(int(entry.name))]
    return found


def end_in_order(*_: object) -> None:
    """What vLLM's API process does at SIGTERM: end its engine, then itself."""
    for pid in children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    say("Application shutdown complete.")
    os._exit(0)


# -- answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    tokens: list[str]
    finish_reason: str
    ttft_s: float
    tpot_s: float
    status: int = 200
    tool_calls: tuple[tuple[str, str], ...] = ()


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def asked(body: dict[str, Any]) -> str:
    """The prompt as text, or the messages one a line."""
    if "messages" in body:
        lines = []
        for message in body["messages"]:
            content = message.get("content") or ""
            if isinstance(content, list):
                content = "".join(str(part.get("text", "")) for part in content)
            lines.append(f"{message.get('role')}: {content}")
        return "\n".join(lines)
    prompt = body.get("prompt", "")
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


class Brain:
    """Turns a request body into a reply, as the environment says."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Any] | None = None
        if knob("ANSWERS"):
            self.answer = runpy.run_path(knob("ANSWERS"))["answer"]

    def reply(self, body: dict[str, Any], path: str) -> Reply:
        text: Any = knob("ANSWER", "The answer is \\boxed{42}.")
        if self.answer is not None:
            text = self.answer({**body, "path": path, "text": asked(body)})
        said = text if isinstance(text, dict) else {"text": text}
        tokens = tokens_of(str(said.get("text", "")))
        limit = int(
            body.get("max_completion_tokens") or body.get("max_tokens") or (16 if "prompt" in body else 4096)
        )
        if body.get("ignore_eos") and tokens:
            tokens = (tokens * (limit // len(tokens) + 1))[:limit]
        reason = "length" if len(tokens) > limit or body.get("ignore_eos") else "stop"
        if limit == 1 and body.get("echo"):
            tokens = tokens[:1] or [" x"]
        return Reply(
            tokens=tokens[:limit],
            finish_reason=str(said.get("finish_reason") or reason),
            ttft_s=float(said.get("ttft_s", knob("TTFT_S", "0"))),
            tpot_s=float(said.get("tpot_s", knob("TPOT_S", "0"))),
            status=int(said.get("status", 200)),
            tool_calls=tuple(said.get("tool_calls", ())),
        )


class Template:
    """The chat template of the weights, as the server renders it, and numbers for tokens."""

    def __init__(self, model: str) -> None:
        self.words: list[str] = []
        self.numbers: dict[str, int] = {}
        self.bos = ""
        self.source = Path(knob("TEMPLATE")).read_text() if knob("TEMPLATE") else ""
        config = Path(model) / "tokenizer_config.json"
        if config.is_file():
            about = json.loads(config.read_text())
            self.source = self.source or about.get("chat_template", "")
            self.bos = about.get("bos_token", "") if about.get("add_bos_token") else ""

    def read_by_the_model(self, body: dict[str, Any]) -> str:
        if "messages" not in body:
            return asked(body)
        if not self.source:
            # As the weights that the tests make would have it.
            return f"{asked(body)}\nassistant: "
        import jinja2

        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.source).render(
            messages=body["messages"], add_generation_prompt=True, bos_token=self.bos, eos_token=""
        )

    def number(self, token: str) -> int:
        if token not in self.numbers:
            self.numbers[token] = len(self.words)
            self.words.append(token)
        return self.numbers[token]


# -- HTTP -------------------------------------------------------------------------------------------


class Counters:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.requests = self.prompt_tokens = self.generation_tokens = 0
        self.cache_hits = 0
        self.drafts = self.accepted = 0
        self.seen: set[str] = set()

    def found(self, body: dict[str, Any]) -> int:
        """Tokens at the beginning of a prompt that the cache has, in whole blocks and never all of them."""
        tokens, salt = tokens_of(asked(body)), body.get("cache_salt")
        with self.lock:
            blocks = (len(tokens) - 1) // 4
            hits = next(
                (n for n in range(blocks) if f"{salt} {tokens[: 4 * n + 4]}" not in self.seen), blocks
            )
            self.cache_hits += 4 * hits
        return 4 * hits

    def keep(self, body: dict[str, Any], answer: str) -> None:
        """Have the cache know a prompt and its answer."""
        tokens, salt = tokens_of(f"{asked(body)}\nassistant: {answer}"), body.get("cache_salt")
        with self.lock:
            self.seen |= {f"{salt} {tokens[: 4 * n + 4]}" for n in range(len(tokens) // 4)}

    def cached(self, body: dict[str, Any]) -> int:
        """Tokens of the prompt that are in the prefix cache, where it is from now on."""
        if knob("PREFIX_CACHE").startswith("off"):
            return 0
        salt = "" if knob("PREFIX_CACHE") == "unsalted" else body.get("cache_salt")
        key = f"{salt} {asked(body)}"
        with self.lock:
            found = 2 if key in self.seen else 0
            self.seen |= {key}
            self.cache_hits += found
        return found

    def text(self, model: str) -> str:
        label = f'{{engine="0",model_name="{model}"}}'
        values = {
            "vllm:num_requests_running": self.running,
            "vllm:prefix_cache_queries_total": self.prompt_tokens,
            "vllm:prefix_cache_hits_total": self.cache_hits,
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generation_tokens,
            "vllm:request_success_total": self.requests,
        }
        if knob("ACCEPTS"):
            values |= {
                "vllm:spec_decode_num_drafts_total": self.drafts,
                "vllm:spec_decode_num_draft_tokens_total": 4 * self.drafts,
                "vllm:spec_decode_num_accepted_tokens_total": self.accepted,
            }
        if knob("PREFIX_CACHE") == "untold":
            del values["vllm:prefix_cache_hits_total"]
        return "".join(f"{name}{label} {float(value)}\n" for name, value in values.items())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise small stream events wait for the previous one's acknowledgement: 40 ms each.
    disable_nagle_algorithm = True
    model = ""
    beside: tuple[str, ...] = ()
    max_model_len = 2048
    api_key: str | None = None
    brain: Brain
    template: Template
    counters: Counters
    pids: dict[str, int]
    listener: socket.socket

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        return

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            self.send(200, None)
        elif path == "/version":
            self.send(200, {"version": "0.0.0"})
        elif path == "/metrics":
            self.send(200, self.counters.text(self.model))
        elif path == "/v1/models":
            if self.allowed():
                rows = [
                    {
                        "id": name,
                        "object": "model",
                        "owned_by": "vllm",
                        "max_model_len": self.max_model_len,
                    }
                    for name in (self.model, *self.beside)
                ]
                self.send(200, {"object": "list", "data": rows})
        else:
            self.send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith(("/v1/", "/fake/")) and not self.allowed():
            return
        if path == knob("BREAK"):
            self.fail(500, "InternalServerError", "EngineCore encountered an issue.")
            return
        if path.startswith("/fake/"):
            self.obey(path.removeprefix("/fake/"))
            return
        try:
            body = json.loads(raw or b"{}")
        except json.JSONDecodeError:
            self.fail(400, "BadRequestError", "the body is not JSON")
            return
        if path == "/tokenize" and knob("TOKENIZE", "1") == "1":
            tokens = tokens_of(self.template.read_by_the_model(body))
            if self.template.bos and body.get("add_special_tokens", "messages" not in body):
                tokens.insert(0, self.template.bos)
            answer = {
                "count": len(tokens),
                "max_model_len": self.max_model_len,
                "tokens": [self.template.number(token) for token in tokens],
            }
            self.send(200, answer)
        elif path == "/detokenize" and knob("TOKENIZE", "1") == "1":
            self.send(200, {"prompt": "".join(self.template.words[number] for number in body["tokens"])})
        elif path in ("/v1/completions", "/v1/chat/completions"):
            with self.counters.lock:
                self.counters.running += 1
            try:
                self.generate(body, path)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with self.counters.lock:
                    self.counters.running -= 1
        else:
            self.send(404, {"detail": "Not Found"})

    def allowed(self) -> bool:
        if self.api_key and self.headers.get("Authorization") != f"Bearer {self.api_key}":
            self.send(401, {"error": "Unauthorized"})
            return False
        return True

    def obey(self, order: str) -> None:
        if order == "pids":
            self.send(200, self.pids | {"worker": children(self.pids["engine"])[0]})
            return
        self.send(200, None)
        self.wfile.flush()
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "close":
            threading.Thread(target=self.server.shutdown, daemon=True).start()
            Handler.listener.shutdown(socket.SHUT_RDWR)  # wakes the loop, which has no reason to look
        elif order == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif order == "exit":
            say("RuntimeError: planted engine failure", "EngineCore", "ERROR")
            say("EngineCore encountered an issue. See stack trace (above) for the root cause.", level="ERROR")
            os._exit(1)

    def generate(self, body: dict[str, Any], path: str) -> None:
        if body.get("model") not in (None, self.model, *self.beside):
            message = f"The model `{body.get('model')}` does not exist. Valid aliases: {self.model}."
            self.fail(404, "NotFoundError", message)
            return
        if body.get("prompt_logprobs") is not None and fails_to_score(body["prompt"]):
            self.fail(400, "BadRequestError", "planted failure of prompt_logprobs")
            return
        if isinstance(body.get("prompt"), list):
            self.send(200, self.scores(body))
            return
        if body.get("return_token_ids") and knob("TOKEN_IDS", "1") == "1":
            self.send(200, drawn(body, self.counters.cached(body)))
            return
        prompt = tokens_of(asked(body))
        wanted = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        if len(prompt) + wanted > self.max_model_len:
            total = f"{wanted} output tokens and your prompt contains {len(prompt)} input tokens"
            message = (
                f"This model's maximum context length is {self.max_model_len} tokens. You requested {total}."
            )
            self.fail(400, "BadRequestError", message)
            return
        with self.counters.lock:
            # The check for NaN of every start is none of the generations that a test counts.
            self.counters.requests += not ("logprobs" in body and body.get("prompt") == "1 2 3 4")
            number = self.counters.requests
        if knob("DIE_AFTER") and number > int(knob("DIE_AFTER")):
            os.kill(os.getpid(), signal.SIGKILL)
        if knob("NAN") == "1" and "logprobs" in body:
            self.fail(400, "BadRequestError", "Out of range float values are not JSON compliant")
            return
        reply = self.brain.reply(body, path)
        if reply.status != 200:
            self.fail(reply.status, "InternalServerError", "planted failure")
            return
        usage: dict[str, Any] = {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(reply.tokens),
            "total_tokens": len(prompt) + len(reply.tokens),
        }
        with self.counters.lock:
            self.counters.prompt_tokens += len(prompt)
            self.counters.generation_tokens += len(reply.tokens)
            drafts, accepted = speculated(len(reply.tokens), asked(body))
            self.counters.drafts += drafts
            self.counters.accepted += accepted
        found = 0
        if knob("PREFIX_CACHE").startswith("blocks"):
            found = self.counters.found(body)
            self.counters.keep(body, "".join(reply.tokens))
        if knob("PREFIX_CACHE") in ("blocks usage", "off usage"):
            usage |= {"prompt_tokens_details": {"cached_tokens": found}}
        if body.get("stream"):
            self.stream(body, path, reply, usage)
        else:
            time.sleep(reply.ttft_s + reply.tpot_s * max(0, len(reply.tokens) - 1))
            self.send(200, self.whole(body, path, reply, usage, prompt))

    def scores(self, body: dict[str, Any]) -> dict[str, Any]:
        """The scores of a prompt of token ids, as the knobs say."""
        missing = knob("NO_SCORES")
        if missing == "1" or (missing == "echo" and "echo" not in body):
            return {"choices": [{"text": "x"}]}
        if not knob("LIKES"):
            return scored(body["prompt"])
        return liked(body, [self.template.words[number] for number in body["prompt"]])

    def whole(
        self, body: dict[str, Any], path: str, reply: Reply, usage: dict[str, Any], prompt: list[str]
    ) -> dict[str, Any]:
        text = "".join(reply.tokens)
        chat = "chat" in path
        choices = []
        for index in range(int(body.get("n") or 1)):
            choice: dict[str, Any] = {"index": index, "finish_reason": reply.finish_reason, "logprobs": None}
            if chat:
                choice["message"] = {"role": "assistant", "content": text, "reasoning": None}
                if reply.tool_calls:
                    choice["message"]["tool_calls"] = [
                        {
                            "id": f"call-{n}",
                            "type": "function",
                            "function": {"name": name, "arguments": arguments},
                        }
                        for n, (name, arguments) in enumerate(reply.tool_calls)
                    ]
            else:
                shown = prompt + reply.tokens if body.get("echo") else reply.tokens
                choice["text"] = "".join(shown)
                if body.get("prompt_logprobs") is not None:
                    # By length of the token, so that texts differ as they do to a real model.
                    each = float(knob("SURPRISE", "1.0"))
                    choice["prompt_logprobs"] = [
                        {"7": {"logprob": -each * len(token) / 4, "rank": 1}} if place else None
                        for place, token in enumerate(prompt)
                    ]
                if body.get("logprobs") is not None:
                    first: list[float | None] = [None] if body.get("echo") else [-1.0]
                    logprobs = (first + [-1.0] * len(shown))[: len(shown)]
                    choice["logprobs"] = {"tokens": shown, "token_logprobs": logprobs, "top_logprobs": None}
            choices.append(choice)
        kind = "chat.completion" if chat else "text_completion"
        return {
            "id": "fake-1",
            "object": kind,
            "created": 0,
            "model": self.model,
            "choices": choices,
            "usage": usage,
        }

    def stream(self, body: dict[str, Any], path: str, reply: Reply, usage: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chat = "chat" in path
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": "fake-1", "object": kind, "created": 0, "model": self.model}

        def event(choices: list[dict[str, Any]], **more: Any) -> None:
            self.chunk(f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n")

        def choice(text: str, reason: str | None) -> dict[str, Any]:
            content: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
            return {"index": 0, **content, "logprobs": None, "finish_reason": reason}

        if chat:
            event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        due = time.monotonic() + reply.ttft_s
        pieces = list(in_groups(reply.tokens, int(knob("TOKENS_PER_CHUNK", "1"))))
        for number, piece in enumerate(pieces):
            # Against the schedule and not by a sleep a token, so that errors don't add up.
            time.sleep(max(0.0, due - time.monotonic()))
            due += reply.tpot_s * len(piece)
            event([choice("".join(piece), reply.finish_reason if number == len(pieces) - 1 else None)])
        for place, (name, arguments) in enumerate(reply.tool_calls if chat else ()):
            function = {"name": name, "arguments": ""}
            begun = {"index": place, "id": f"call-{place}", "type": "function", "function": function}
            halves = [arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]]
            for call in (begun, *({"index": place, "function": {"arguments": half}} for half in halves)):
                event([{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])
        if not pieces:
            event([choice("", reply.finish_reason)])
        if (body.get("stream_options") or {}).get("include_usage"):
            told = {"metrics": acceptance(body, reply)} if knob("DRAFTS") == "request" else {}
            event([], usage=usage, **told)
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def fail(self, status: int, kind: str, message: str) -> None:
        self.send(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})

    def send(self, status: int, body: Any) -> None:
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def speculated(tokens: int, prompt: str) -> tuple[int, int]:
    """Verification steps and accepted tokens of an answer, drawn by its prompt: four draft tokens a step."""
    share, draws = float(knob("ACCEPTS", "0")) / 4, random.Random(f"drafts {prompt}")
    if not knob("ACCEPTS"):
        return 0, 0
    drafts = accepted = 0
    while drafts + accepted < tokens:
        drafts += 1
        accepted += sum(draws.random() < share for _ in range(4))
    return drafts, accepted


def acceptance(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """As vLLM 0.32 with ``--per-request-spec-decode-metrics summary``."""
    drafts, accepted = speculated(len(reply.tokens), asked(body))
    return {
        "speculative_decoding": {
            "mean_acceptance_length": 1 + accepted / max(1, drafts),
            "draft_acceptance_rate": accepted / max(1, 4 * drafts),
            "acceptance_histogram": [],
            "num_spec_steps": drafts,
            "num_accepted_draft_tokens": accepted,
            "num_draft_tokens": 4 * drafts,
            "num_spec_tokens": 4,
        }
    }


FIRST_ID = 1000
"""Ids from here on are the tokens with :func:`logits`; those below are of prompts, and all as likely."""


def log_probabilities(which: str = "LOGITS") -> list[float]:
    """Of the few tokens that answers with ids are made of, each drawn by itself."""
    logits = [float(text) for text in (knob(which) or knob("LOGITS", "2 1 0.5 0")).split()]
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def drawn(body: dict[str, Any], cached: int = 0) -> dict[str, Any]:
    """An answer of twenty tokens: drawn by the request's seed, or the most likely one at temperature 0."""
    values = log_probabilities("WARM" if cached and knob("WARM") else "DECODES")
    places = list(range(len(values)))
    if body.get("temperature") == 0.0:
        answer = [values.index(max(values))] * 20
    else:
        draws = random.Random(f"{body.get('seed')} {asked(body)}")
        answer = draws.choices(places, [math.exp(value) for value in values], k=20)
    prompt = [7, 8, 9]
    ids = [FIRST_ID + place for place in answer]
    choice = {
        "index": 0,
        "finish_reason": "length",
        "token_ids": ids,
        "message": {"content": "…"},
        "text": "…",
    }
    most = int(body.get("top_logprobs") or body["logprobs"]) if "logprobs" in body else 0
    choice["logprobs"] = (
        {
            "content": [
                {
                    "token": f"t{place}",
                    "logprob": values[place],
                    "top_logprobs": [
                        {"token": f"t{other}", "logprob": values[other]} for other in places[:most]
                    ],
                }
                for place in answer
            ]
        }
        if "messages" in body
        else {
            "tokens": [f"t{place}" for place in answer],
            "token_logprobs": [values[place] for place in answer],
            "top_logprobs": [{f"t{other}": values[other] for other in places[:most]}] * len(answer),
        }
    )
    usage: dict[str, Any] = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
    if knob("PREFIX_CACHE") == "usage":
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {"prompt_token_ids": prompt, "choices": [choice | {"prompt_token_ids": prompt}], "usage": usage}


def scored(ids: list[int]) -> dict[str, Any]:
    """What the same distribution makes of given tokens."""
    values = log_probabilities()
    ranks = [sum(other >= value for other in values) for value in values]

    def entry(token: int) -> dict[str, Any]:
        place = token - FIRST_ID
        if place < 0:
            return {str(token): {"logprob": -1.0, "rank": 1, "decoded_token": f"p{token}"}}
        text = f"{knob('TOKEN_TEXT', 't')}{place}"
        return {str(token): {"logprob": values[place], "rank": ranks[place], "decoded_token": text}}

    entries = [None, *(entry(token) for token in ids[1:])]
    return {"choices": [{"text": "x", "prompt_logprobs": entries}]}


def fails_to_score(prompt: object) -> bool:
    """The same prompts whenever they are sent."""
    one_in = int(knob("FAIL_SCORES", "0"))
    return one_in > 0 and zlib.crc32(json.dumps(prompt).encode()) % one_in == 0


def liked(body: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """What the function of ``FAKE_ENGINE_LIKES`` makes of given tokens."""
    likes = runpy.run_path(knob("LIKES"))["likes"]
    values = [likes("".join(words[:place]), word) for place, word in enumerate(words)][1:]
    if body.get("echo"):
        own = [None, *(value for value, _ in values), -1.0]
        tops = [
            None,
            *({word: value, "other": top} for word, (value, top) in zip(words[1:], values, strict=True)),
            {"x": -1.0},
        ]
        logprobs = {"tokens": [*words, "x"], "token_logprobs": own, "top_logprobs": tops}
        return {"choices": [{"text": "".join(words) + "x", "logprobs": logprobs}]}
    entries: list[Any] = [None]
    for number, (value, top) in zip(body["prompt"][1:], values, strict=True):
        entry = {str(number): {"logprob": value, "rank": 1 if value == top else 2}}
        # vLLM names the most likely token beside the prompt's own.
        entries.append(entry if value == top else {**entry, "-1": {"logprob": top, "rank": 1}})
    return {"choices": [{"text": "x", "prompt_logprobs": entries}]}


def in_groups(tokens: list[str], size: int) -> Iterator[list[str]]:
    for begin in range(0, len(tokens), size):
        yield tokens[begin : begin + size]


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


def fails_now(port: int) -> bool:
    starts = 0
    if knob("COUNTER"):
        with Path(knob("COUNTER")).open("a+") as counter:
            counter.write(f"{port}\n")
            counter.seek(0)
            starts = len(counter.readlines())
    return bool(knob("FAIL")) and starts <= int(knob("FAIL_TIMES", "1000000"))


def size_cache(fixed: int | None, port: int) -> None:
    """Measure the memory for the key-value cache, or reserve the ``fixed`` number of bytes."""
    if fixed is None:
        say("Available KV cache memory: 1.50 GiB", "Worker")
        return
    if knob("NO_ROOM") == "1":
        sys.stdout.write("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB.\n")
        sys.stdout.flush()
        end_failed()
    if knob("PARTNERS"):
        directory = Path(knob("PARTNERS"))
        directory.mkdir(exist_ok=True)
        (directory / str(port)).touch()
        for _ in range(400):
            if len(list(directory.iterdir())) % 2 == 0:
                break
            time.sleep(0.05)
        else:
            sleep_for_ever(None)
    say(
        f"Initial free memory 79.00 GiB, reserved {fixed / 2**30:.2f} GiB memory for KV Cache as specified by "
        "kv_cache_memory_bytes config and skipped memory profiling.",
        "Worker",
    )
    say("Graph capturing finished in 1 secs, took 5.00 GiB", "Worker")


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--lora-modules", nargs="+", default=[])
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=None)
    options, _ = parser.parse_known_args()
    say(f"vLLM API server version 0.0.0 (fake), model {options.model}")
    if fails_now(options.port):
        text = knob("FAIL")
        sys.stdout.write((Path(text[1:]).read_text() if text.startswith("@") else text) + "\n")
        sys.stdout.flush()
        os._exit(1)
    engine = start_engine()
    ending = signal.SIG_IGN if knob("IGNORE_TERM") == "1" else end_in_order
    signal.signal(signal.SIGTERM, ending)
    time.sleep(float(knob("START_S", "0")))
    if knob("NEVER_READY") == "1":
        sleep_for_ever(None)
    say("Loading weights took 0.01 seconds", "Worker")
    size_cache(options.kv_cache_memory_bytes, options.port)
    say(
        "CPU KV cache size: 4,194,304 tokens, Maximum concurrency for 1,024 tokens per request: 4096.00x",
        "EngineCore",
    )
    say("init engine (profile, create kv cache, warmup model) took 0.10 s", "EngineCore")
    first, *aliases = options.served_model_name or [options.model]
    Handler.model = knob("SERVES") or first
    beside = [*aliases, *map(name_of_adapter, options.lora_modules)]
    Handler.beside = tuple(name for name in beside if name != knob("LOSES"))
    Handler.max_model_len = options.max_model_len
    Handler.api_key = os.environ.get("VLLM_API_KEY")
    Handler.brain, Handler.counters, Handler.template = Brain(), Counters(), Template(options.model)
    Handler.pids = {"api": os.getpid(), "engine": engine}
    try:
        server = Server((options.host, options.port), Handler)
    except OSError as error:
        sys.stdout.write(f"OSError: [Errno {error.errno}] {error.strerror}\n")
        sys.stdout.flush()
        end_failed()
    Handler.listener = server.socket
    say("Application startup complete.")
    server.serve_forever(poll_interval=3600)
    # Told to close: the process stays, with its open requests.
    server.socket.close()
    sleep_for_ever(None)


def name_of_adapter(text: str) -> str:
    """Of ``NAME=PATH``, or JSON."""
    return str(json.loads(text)["name"]) if text.startswith("{") else text.partition("=")[0]


def end_failed() -> None:
    for pid in children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
