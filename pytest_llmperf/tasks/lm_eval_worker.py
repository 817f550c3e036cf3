"""The process that holds tasks of lm-evaluation-harness; started as a file, so that it imports nothing of this package.

It reads one JSON object a line and writes one for each. ``{"load": name, "include": directory or null}`` is answered by
the requests of the task, ``{"score": [subtask, number, text]}`` by the metrics of a reply, by filter. What cannot be
done is ``{"error": …, "why": …}``. It ends with its standard input, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import Any, NoReturn, TextIO

_LONGEST_SCORE_S = 90
"""By then nobody waits for the score. A regular expression that runs wild keeps all other threads from running: the
kernel's alarm ends the process."""


def main() -> NoReturn:
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the lines of the answer
    tasks: dict[str, Any] = {}
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        request = json.loads(lines.get())
        try:
            if "load" in request:
                _say(answer, _load(tasks, request["load"], request["include"]))
            else:
                signal.alarm(_LONGEST_SCORE_S)
                _say(answer, _scored(tasks, *request["score"]))
        except ImportError as error:
            _say(answer, {"error": "missing", "why": str(error)})
        except Exception as error:  # of its tasks, which may raise anything
            _say(
                answer,
                {"error": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"},
            )
        finally:
            signal.alarm(0)


def _read(lines: SimpleQueue[str]) -> NoReturn:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # threads of pyarrow may still be there


def _say(answer: TextIO, said: dict[str, Any]) -> None:
    answer.write(json.dumps(said) + "\n")
    answer.flush()


def _load(tasks: dict[str, Any], name: str, include: str | None) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include, include_defaults=False)
    if name not in manager.all_tasks:
        # Reading the thirteen thousand tasks that it ships takes ten seconds.
        manager = TaskManager(include_path=include)
    if name not in manager.all_tasks:
        return {"error": "unknown", "why": "", "known": manager.all_tasks}
    tasks.clear()
    tasks.update(manager.load([name])["tasks"])
    loaded = {
        "version": lm_eval.__version__,
        "tasks": {sub: _about(task) for sub, task in tasks.items()},
        "requests": [],
    }
    # Nothing is built for what cannot be asked: the caller says so.
    if any(about["output"] != "generate_until" or about["refused"] for about in loaded["tasks"].values()):
        return loaded
    for sub, task in tasks.items():
        plain = _requests(task)
        chat = _requests(task, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=_as_json)
        for text, turns in zip(plain, chat, strict=True):
            limits = text.args[1]
            until = limits.get("until") or []
            loaded["requests"].append(
                {
                    "task": sub,
                    "doc": text.doc_id,
                    "text": text.args[0],
                    "messages": json.loads(turns.args[0]),
                    "until": [until] if isinstance(until, str) else list(until),
                    "max_tokens": limits.get("max_tokens", limits.get("max_gen_toks")),
                }
            )
        task.by_number = {request.doc_id: request for request in plain}
    return loaded


def _requests(task: Any, **how: Any) -> list[Any]:
    task.set_fewshot_seed(1234)  # lm-eval's own
    task.build_all_requests(limit=None, rank=0, world_size=1, **how)
    return list(task.instances)


def _as_json(turns: list[dict[str, str]], **_: Any) -> str:
    """Stands where lm-eval renders a chat: the turns are sent as they are, and the server renders them."""
    return json.dumps(turns)


def _about(task: Any) -> dict[str, Any]:
    metrics = [*task.aggregation()]
    refused = ""
    if getattr(task, "UNSAFE_CODE", False):
        refused = "runs code that the model wrote"
    elif getattr(task, "MULTIMODAL", False):
        refused = "shows pictures or sound"
    elif (task.config.repeats or 1) > 1:
        refused = f"asks for {task.config.repeats} replies to each item"
    return {
        "version": task.VERSION,
        "output": task.OUTPUT_TYPE,
        "metrics": metrics,
        "lower_is_better": [name for name in metrics if task.higher_is_better().get(name) is False],
        "filters": [each.name for each in getattr(task, "_filters", ())],
        "refused": refused,
    }


def _scored(tasks: dict[str, Any], sub: str, number: int, text: str) -> dict[str, Any]:
    """The metrics of one reply by filter, as lm-eval's evaluator computes them; null for what is no number."""
    task = tasks[sub]
    request = task.by_number[number]
    request.resps, request.filtered_resps = [text], {}
    for each in task._filters:
        each.apply([request])
    found: dict[str, dict[str, float | None]] = {}
    for name, filtered in request.filtered_resps.items():
        results = task.process_results(request.doc, [filtered])
        found[name] = {metric: _number(value) for metric, value in results.items()}
    return {"scores": found}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


if __name__ == "__main__":
    main()
