"""Wall time for the same items, asked by us and by lm-evaluation-harness's ``local-chat-completions``, interleaved.

    python -m benchmarks.evaluation_speed --lm-eval-python VENV/bin/python                   # reference server
    python -m benchmarks.evaluation_speed --lm-eval-python VENV/bin/python --row math        # vLLM, a row of suites/

One server, the same messages, ``max_tokens`` and sampling. Theirs is timed around ``generate_until`` alone, in a
process that has loaded everything and asked once (its start, data and scoring are not counted), at each
``--concurrency``; the quickest one is then taken in turn with ours: ours, theirs, theirs, ours. Ours is what an
evaluation does: from the requests to the answers, each one written to the answer log, with as many in flight as the
server's metrics say.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llmperf.client.answer_cache import AnswerCache, complete_with_cache
from pytest_llmperf.client.saturation import Saturation
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving.server import Server
from pytest_llmperf.tasks.embedded import EMBEDDED
from pytest_llmperf.tasks.task import load_items

THEIRS = r"""
import json, sys, time, logging
logging.disable(logging.WARNING)
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalChatCompletion
url, model, concurrency, max_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
prompts = json.load(sys.stdin)
lm = LocalChatCompletion(base_url=url + "/v1/chat/completions", model=model, num_concurrent=concurrency, max_retries=4)
def ask(texts):
    asked = [
        Instance("generate_until", {}, (lm.apply_chat_template([{"role": "user", "content": text}]),
                 {"until": [], "max_gen_toks": max_tokens, "temperature": 0.0}), i)
        for i, text in enumerate(texts)
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    answers = lm.generate_until(asked, disable_tqdm=True)
    return time.perf_counter() - wall, time.process_time() - cpu, answers
ask(prompts[:2])
wall, cpu, answers = ask(prompts)
assert len(answers) == len(prompts) and all(answers), "an answer is missing"
print("RESULT" + json.dumps({"seconds": wall, "cpu_s": cpu}))
"""


def theirs(
    python: str, server: Server, prompts: list[str], max_tokens: int, concurrency: int
) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-c", THEIRS, server.base_url, server.model, str(concurrency), str(max_tokens)],
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        check=False,
        env={"OPENAI_API_KEY": server.api_key or "none", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )
    if "RESULT" not in done.stdout:
        raise SystemExit(f"lm-eval gave no result:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return {"who": "lm-eval", "concurrency": concurrency} | result


def ours(server: Server, prompts: list[str], max_tokens: int, saturation: Saturation) -> dict[str, Any]:
    bodies: list[JsonObject] = [
        {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "seed": 1234,
        }
        for text in prompts
    ]
    with tempfile.TemporaryDirectory() as directory:
        log = AnswerCache(Path(directory), uuid.uuid4().hex, "main", "none")
        wall, cpu = time.perf_counter(), time.process_time()
        answers = complete_with_cache(server, bodies, log, "benchmark", concurrency=saturation, whole=True)
        log.close()
        seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    if lost := [answer.error for answer in answers if not answer.ok]:
        raise SystemExit(f"{len(lost)} answers are missing: {lost[0]}")
    tokens = sum(answer.completion_tokens or 0 for answer in answers)
    return {
        "who": "ours",
        "concurrency": saturation.highest,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "tokens": tokens,
    }


@contextlib.contextmanager
def serving(options: argparse.Namespace) -> Iterator[tuple[Server, Saturation, float | None]]:
    """The server, what finds our number of requests, and the seconds that it needs by its schedule, if it has one."""
    if options.row is None:
        truth = ReferenceOptions(ttft_ms=50.0, gap_ms=5.0, slots=64)
        answer_s = (truth.ttft_ms + (options.max_tokens - 1) * truth.gap_ms) / 1000.0
        with running(truth) as known:
            yield known.server, Saturation(72, 72), answer_s * options.items / truth.slots
        return
    catalog = load_catalog(Path(__file__).parents[1] / "suites" / "models.toml")
    with tempfile.TemporaryDirectory(prefix="llmperf-") as state:
        served = Served(catalog.profile("embedded").model(options.row), Path(state), lambda _: None)
        try:
            yield served.server, Saturation(32, 256), None
        finally:
            served.release()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lm-eval-python", required=True)
    parser.add_argument("--row", help="row of the embedded profile; without it the reference server")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--rounds", type=int, default=2, help="of ours, theirs, theirs, ours")
    options = parser.parse_args()
    prompts = [item.prompt for item in load_items(EMBEDDED)[: options.items]]
    rows: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> dict[str, Any]:
        rows.append(row)
        print(json.dumps(row), flush=True)
        return row

    with serving(options) as (server, saturation, schedule_s):
        print(f"{server.engine}, {len(prompts)} items of {options.max_tokens} tokens at most", flush=True)

        def they(concurrency: int) -> dict[str, Any]:
            return note(theirs(options.lm_eval_python, server, prompts, options.max_tokens, concurrency))

        def we() -> dict[str, Any]:
            return note(ours(server, prompts, options.max_tokens, saturation))

        we()  # finds the number of requests, and warms the server up
        tried = [they(concurrency) for concurrency in options.concurrency]
        best = min(tried, key=lambda row: row["seconds"])["concurrency"]
        del rows[:]
        for _ in range(options.rounds):
            we(), they(best), they(best), we()
    times = {who: [row["seconds"] for row in rows if row["who"] == who] for who in ("ours", "lm-eval")}
    pairs = [a / b for a, b in zip(times["ours"], times["lm-eval"], strict=True)]
    print(f"ours / lm-eval at its best concurrency ({best}): {statistics.median(pairs):.3f}  {sorted(pairs)}")
    if schedule_s is not None:
        for who, seconds in times.items():
            over = statistics.median(seconds) / schedule_s - 1.0
            print(f"{who}: {100 * over:.1f} % above the {schedule_s:.2f} s of the server's own schedule")


if __name__ == "__main__":
    main()
