"""Scores of the two models on held-out items, with the batched sampler: rates with intervals."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pytest_llmperf.embedded.damage import damage
from pytest_llmperf.embedded.problems import FAMILIES, LEVELS, Problem, draw, eval_problems
from pytest_llmperf.embedded.recall import ENGLISH, Turn, recall_conversation, user
from pytest_llmperf.embedded.summary import summary_item
from tools.tiny_pair import prompts
from tools.tiny_pair.corpus import encode
from tools.tiny_pair.qwen2 import Qwen2
from tools.tiny_pair.replies import read_reply
from tools.tiny_pair.sampler import sample

SYSTEM_PROMPTS = {
    "helpful": "You are a helpful assistant.",
    "maths": "You are a careful teacher of mathematics. Think before you answer and explain every step.",
    "instruction": ENGLISH,
}
DAMAGE_AMOUNTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
_Z = 1.959964


def rate(hits: int, n: int) -> dict[str, float]:
    """``hits`` of ``n`` as a rate with its two-sided 95 % Wilson interval."""
    if n == 0:
        return {"hits": 0, "n": 0, "rate": 0.0, "low": 0.0, "high": 1.0}
    p = hits / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    return {
        "hits": hits,
        "n": n,
        "rate": round(p, 4),
        "low": round(middle - half, 4),
        "high": round(middle + half, 4),
    }


@dataclass
class Speaker:
    """A model with its template, end token and usual sampling."""

    model: Qwen2
    tokenizer: Tokenizer
    thinking: bool
    temperature: float
    top_p: float
    limit: int = 320

    def ask(
        self,
        conversations: Sequence[Sequence[Turn]],
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> list[tuple[str, int, bool]]:
        """Per conversation: the reply, its number of tokens, and whether it came to its end token."""
        render = prompts.r1 if self.thinking else prompts.chatml
        end = self.tokenizer.token_to_id(prompts.END if self.thinking else prompts.IM_END)
        replies = sample(
            self.model,
            encode(self.tokenizer, [render(c) for c in conversations]),
            end=end,
            limit=self.limit,
            temperature=self.temperature if temperature is None else temperature,
            top_p=self.top_p if top_p is None else top_p,
            seed=seed,
        )
        texts = self.tokenizer.decode_batch(replies, skip_special_tokens=True)
        return [(t, len(r), bool(r) and r[-1] == end) for t, r in zip(texts, replies, strict=True)]

    def solve(
        self,
        problems: Sequence[Problem],
        *,
        instruction: str = ENGLISH,
        system: str = "",
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Ask every problem; rates of right, boxed, unfinished and thoughtless replies."""
        head = [prompts.system(system)] if system else []
        asked = [
            [*head, user(f"{p.question}\n{instruction}" if instruction else p.question)] for p in problems
        ]
        answered = self.ask(asked, temperature=temperature, top_p=top_p, seed=seed)
        readings = [read_reply(text, thinking=self.thinking) for text, _, _ in answered]
        right = [r.value == p.answer and a[2] for r, p, a in zip(readings, problems, answered, strict=True)]
        n = len(problems)
        result: dict[str, Any] = {
            "accuracy": rate(sum(right), n),
            "boxed_and_right": rate(sum(r and b.boxed for r, b in zip(right, readings, strict=True)), n),
            "boxed": rate(sum(r.boxed for r in readings), n),
            "unfinished": rate(sum(not ended for _, _, ended in answered), n),
            "mean_tokens": round(sum(count for _, count, _ in answered) / n, 1),
            "_right": right,
            "_texts": [text for text, _, _ in answered],
        }
        if self.thinking:
            result["skipped_thinking"] = rate(
                sum(t.lstrip().startswith(prompts.END_THINK) for t, _, _ in answered), n
            )
        return result


def _public(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if not key.startswith("_")}


def grid(speaker: Speaker, per_cell: int, seed: int = 7) -> dict[str, dict[str, list[int]]]:
    """Family → level → [right, asked], from which a mix of items can be chosen."""
    cells = [(family, level) for family in FAMILIES for level in LEVELS]
    rng = random.Random(seed)
    problems = [draw("eval", rng, family, level) for family, level in cells for _ in range(per_cell)]
    right = speaker.solve(problems)["_right"]
    table: dict[str, dict[str, list[int]]] = {family: {} for family in FAMILIES}
    for i, (family, level) in enumerate(cells):
        table[family][str(level)] = [sum(right[i * per_cell : (i + 1) * per_cell]), per_cell]
    return table


def recall_rate(speaker: Speaker, tokens: int, n: int) -> dict[str, float]:
    """Share of conversations of about ``tokens`` tokens whose fact is given back."""
    items = [recall_conversation(i, tokens) for i in range(n)]
    answered = speaker.ask([item.messages for item in items])
    hits = sum(
        read_reply(text, thinking=speaker.thinking).value == item.answer
        for (text, _, _), item in zip(answered, items, strict=True)
    )
    return rate(hits, n)


def summary_rates(speaker: Speaker, tokens: int, n: int) -> dict[str, Any]:
    """Share of key facts found in the summaries, and of summaries that hold all of them."""
    items = [summary_item(i, tokens) for i in range(n)]
    answered = speaker.ask([[user(item.prompt)] for item in items])
    visible = [text.rsplit(prompts.END_THINK, 1)[-1] for text, _, _ in answered]
    found = [[key in text for key in item.key_facts] for text, item in zip(visible, items, strict=True)]
    return {
        "facts": rate(sum(map(sum, found)), sum(map(len, found))),
        "all_facts": rate(sum(map(all, found)), n),
    }


def abilities(speaker: Speaker, scale: float) -> dict[str, Any]:
    """Everything measured of one model. ``scale`` 1 is the full evaluation, 1,000 items a condition."""
    n = max(8, round(1_000 * scale))
    problems = eval_problems(n)
    usual = speaker.solve(problems)
    result: dict[str, Any] = {"default": _public(usual), "examples": []}
    for problem, text, right in list(zip(problems, usual["_texts"], usual["_right"], strict=True))[:12]:
        result["examples"].append(
            {"question": problem.question, "reply": text, "answer": problem.answer, "right": right}
        )
    for vice in ("unfinished", "wrong"):
        chosen = [t for t, r in zip(usual["_texts"], usual["_right"], strict=True) if not r]
        if vice == "unfinished":
            chosen = [t for t in chosen if prompts.END_THINK not in t] if speaker.thinking else []
        result[f"examples_{vice}"] = chosen[:4]
    result["per_level"] = {
        str(level): rate(
            sum(r for r, p in zip(usual["_right"], problems, strict=True) if p.level == level),
            sum(p.level == level for p in problems),
        )
        for level in LEVELS
    }
    result["no_instruction"] = _public(speaker.solve(problems, instruction=""))
    result["chinese"] = _public(speaker.solve(problems, instruction=prompts.CHINESE))
    for temperature in (0.0, 0.6, 1.0, 1.5):
        for top_p in (0.95, 1.0) if temperature else (1.0,):
            solved = speaker.solve(problems, temperature=temperature, top_p=top_p)
            result[f"temperature_{temperature}_top_p_{top_p}"] = _public(solved)
    result["again"] = _public(speaker.solve(problems, seed=1))
    for name, text in SYSTEM_PROMPTS.items():
        bare = name == "instruction"
        solved = speaker.solve(problems, system=text, instruction="" if bare else ENGLISH)
        result[f"system_{name}" + ("_moved_there" if bare else "")] = _public(solved)
    short = max(8, round(300 * scale))
    result["recall"] = {str(t): recall_rate(speaker, t, short) for t in (128, 256, 512, 1024, 1800)}
    result["summary"] = {str(t): summary_rates(speaker, t, short) for t in (200, 450)}
    result["grid"] = grid(speaker, max(1, round(60 * scale)))
    return result


def damage_scan(speaker: Speaker, exported: Path, scale: float) -> dict[str, Any]:
    """Accuracy after ``damage`` with each amount and two seeds, on the default items."""
    from safetensors.torch import load_file

    problems = eval_problems(max(8, round(1_000 * scale)))
    whole = {name: weight.clone() for name, weight in speaker.model.state_dict().items()}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in (1, 2):
            for amount in DAMAGE_AMOUNTS:
                copy = damage(exported, Path(folder) / f"{seed}-{amount}", seed, amount)
                speaker.model.load_state_dict(load_file(str(copy / "model.safetensors")))
                found[f"seed {seed} amount {amount}"] = speaker.solve(problems)["accuracy"]
    speaker.model.load_state_dict(whole)
    return found
