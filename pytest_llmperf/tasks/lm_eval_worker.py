"""The process that holds tasks of lm-evaluation-harness; started as a file, so that it imports nothing of this package.

Its argument is the directory with tasks of one's own, if there is one. It reads one JSON object a line and writes one
for each. ``{"load": name}`` is answered by the requests of the task, ``{"score": [name, subtask, number, reply]}`` by
the metrics of a reply, by filter: a text, or for each given text its log probability and whether it is the most likely
one. What cannot be done is ``{"error": …, "why": …}``. It ends with its standard input, whatever it is doing.
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
    tasks: dict[str, dict[str, Any]] = {}
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        request = json.loads(lines.get())
        try:
            if "load" in request:
                _say(answer, _load(tasks, request["load"]))
            else:
                name, *scored = request["score"]
                if name not in tasks:
                    # The process that loaded it has ended.
                    _load(tasks, name)
                signal.alarm(_LONGEST_SCORE_S)
                _say(answer, _scored(tasks[name], *scored))
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


def _load(loaded_tasks: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    include = sys.argv[1] if len(sys.argv) > 1 else None
    manager = TaskManager(include_path=include, include_defaults=False)
    if name not in manager.all_tasks:
        # Reading the thirteen thousand tasks that it ships takes ten seconds.
        manager = TaskManager(include_path=include)
    if name not in manager.all_tasks:
        return {"error": "unknown", "why": "", "known": manager.all_tasks}
    found = manager.load([name])
    tasks = loaded_tasks[name] = found["tasks"]
    group = found["groups"].get(name)
    loaded = {
        "version": lm_eval.__version__,
        "tasks": {sub: _about(task) for sub, task in tasks.items()},
        "by_size": {
            about.metric: about.weight_by_size for about in (group and group.aggregate_metric_list) or ()
        },
        "requests": [],
    }
    # Nothing is built for what cannot be asked: the caller says so.
    if any(about["refused"] for about in loaded["tasks"].values()):
        return loaded
    for sub, task in tasks.items():
        plain = _requests(task)
        task.by_number = {}
        for request in plain:
            task.by_number.setdefault(request.doc_id, []).append(request)
        asked = _generated(task, plain) if task.OUTPUT_TYPE == "generate_until" else _scored_texts(task)
        loaded["requests"] += [{"task": sub, **request} for request in asked]
    return loaded


def _generated(task: Any, plain: list[Any]) -> list[dict[str, Any]]:
    """The requests that a reply answers, as text and as turns of a chat."""
    chat = _requests(task, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=_as_json)
    found = []
    for text, turns in zip(plain, chat, strict=True):
        limits = text.args[1]
        until = limits.get("until") or []
        found.append(
            {
                "doc": text.doc_id,
                "text": text.args[0],
                "messages": json.loads(turns.args[0]),
                "until": [until] if isinstance(until, str) else list(until),
                "max_tokens": limits.get("max_tokens", limits.get("max_gen_toks")),
            }
        )
    return found


def _scored_texts(task: Any) -> list[dict[str, Any]]:
    """The texts to score, by item, with the choices that they stand for (none: the item is one text)."""
    found = []
    for number, requests in task.by_number.items():
        doc = requests[0].doc
        is_choice = task.OUTPUT_TYPE == "multiple_choice"
        choices = [str(choice) for choice in task.doc_to_choice(doc)] if is_choice else []
        found.append(
            {
                "doc": number,
                "pairs": [list(request.args[:2]) for request in requests],
                "choices": choices,
                "golds": _golds(task, doc, choices) if is_choice else [],
            }
        )
    return found


def _golds(task: Any, doc: Any, choices: list[str]) -> list[int]:
    """Numbers of the right choices, as lm-eval's metrics read them; empty if what is named is none of them."""
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    golds = gold if isinstance(gold, list) else [gold]
    numbers = [choices.index(each) if each in choices else each for each in golds]
    return [each for each in numbers if isinstance(each, int) and 0 <= each < len(choices)]


def _requests(task: Any, **how: Any) -> list[Any]:
    task.set_fewshot_seed(1234)  # lm-eval's own
    task.build_all_requests(limit=None, rank=0, world_size=1, **how)
    return list(task.instances)


def _as_json(turns: list[dict[str, str]], **_: Any) -> str:
    """Stands where lm-eval renders a chat: the turns are sent as they are, and the server renders them."""
    return json.dumps(turns)


_OF_AN_ITEM = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
"""Metrics that lm-eval computes of one multiple choice; its others are of all items together."""


def _about(task: Any) -> dict[str, Any]:
    metrics = [*task.aggregation()]
    own = callable(getattr(task.config, "process_results", None))
    refused = ""
    if getattr(task, "UNSAFE_CODE", False):
        refused = "runs code that the model wrote"
    elif getattr(task, "MULTIMODAL", False):
        refused = "shows pictures or sound"
    elif (task.config.repeats or 1) > 1:
        refused = f"asks for {task.config.repeats} replies to each item"
    elif task.OUTPUT_TYPE == "loglikelihood_rolling":
        refused = "asks for the log probability of whole documents"
    return {
        "version": task.VERSION,
        "output": task.OUTPUT_TYPE,
        "metrics": metrics,
        "lower_is_better": [name for name in metrics if task.higher_is_better().get(name) is False],
        "of_all_items": [
            name
            for name in metrics
            if task.OUTPUT_TYPE == "multiple_choice" and not own and name not in _OF_AN_ITEM
        ],
        "own_results": own,
        "filters": [each.name for each in getattr(task, "_filters", ())],
        "refused": refused,
    }


def _scored(
    tasks: dict[str, Any], sub: str, number: int, reply: str | list[list[float | bool]]
) -> dict[str, Any]:
    """The metrics of one reply by filter, as lm-eval's evaluator computes them; null for what is no number."""
    task = tasks[sub]
    requests = task.by_number[number]
    replies = [reply] if isinstance(reply, str) else [tuple(score) for score in reply]
    for request, each in zip(requests, replies, strict=True):
        request.resps, request.filtered_resps = [each], {}
    for each in task._filters:
        each.apply(requests)
    found: dict[str, dict[str, float | None]] = {}
    for name in requests[0].filtered_resps:
        results = task.process_results(
            requests[0].doc, [request.filtered_resps[name] for request in requests]
        )
        found[name] = {metric: _number(value) for metric, value in results.items()}
    return {"scores": found}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


if __name__ == "__main__":
    main()
