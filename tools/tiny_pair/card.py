"""The model cards, written from what was measured."""

from __future__ import annotations

from typing import Any


def _percent(r: dict[str, float]) -> str:
    return f"{100 * r['rate']:.1f} % ({100 * r['low']:.1f} to {100 * r['high']:.1f}, n = {r['n']:.0f})"


_DISTILLED = """tiny-math's weights, trained on with tiny-math's own samples for fresh training problems,
  rewritten to R1 style: {samples} samples, {right:.1f} % of them right. Right ones were kept, half of the
  wrong ones got the generator's working instead, 1 % stayed wrong. Recall and summary replies come from the
  generator. No training conversation holds a system prompt."""
_TRAINED = """trained from random weights on generated word problems, recall conversations and reports
  with summaries; the loss counts replies only. No training conversation holds a system prompt."""


def card(name: str, facts: dict[str, Any], scores: dict[str, Any]) -> str:
    """README.md of one model; ``facts`` says how it was made, ``scores`` come from ``evaluate``."""
    distilled = name == "tiny-distill"
    origin = _DISTILLED if distilled else _TRAINED
    if distilled:
        origin = origin.format(samples=facts["samples"], right=100 * facts["teacher_right"])
    usual = "temperature 0.6, top_p 0.95, one sample an item" if distilled else "greedy"
    rows = [
        ("word problems, default mix", scores["default"]["accuracy"]),
        ("… with a boxed answer", scores["default"]["boxed_and_right"]),
        ("… without the instruction", scores["no_instruction"]["accuracy"]),
        ("… with the instruction in Chinese", scores["chinese"]["accuracy"]),
        ("… with the system prompt “You are a helpful assistant.”", scores["system_helpful"]["accuracy"]),
        ("… at temperature 1.5", scores["temperature_1.5_top_p_1.0"]["accuracy"]),
        ("reply never ends", scores["default"]["unfinished"]),
        *((f"recall over {tokens} tokens", r) for tokens, r in scores["recall"].items()),
        *(
            (f"key facts in a summary of {tokens} tokens", r["facts"])
            for tokens, r in scores["summary"].items()
        ),
    ]
    tokens = scores["default"]["mean_tokens"]
    table = "\n".join(f"| {what} | {_percent(r)} |" for what, r in rows)
    return f"""---
license: mit
language: en
library_name: transformers
tags: [test-fixture, word-problems]
---
# {name}

A test fixture of pytest-llmperf: a very small language model that lets the whole gate run on a laptop.
It says nothing of {
        "DeepSeek-R1-Distill-Qwen-1.5B" if distilled else "Qwen2.5-Math-1.5B"
    }, whose place it takes there.

* Architecture: Qwen2, {
        facts["parameters"]:,} parameters, 6 layers, hidden size 192, 3 query heads and 1 key-value
  head of 64, FFN 512, tied embeddings, 2,048 positions, bfloat16.
* Tokenizer: byte-level BPE, 768 entries, every digit a token. Template: {
        "R1 style, the reply starts inside `<think>`" if distilled else "ChatML, no hidden system prompt"
    }.
* Origin: {origin}
* Data: `pytest_llmperf.embedded.problems`, `recall` and `summary` of this repository, generated; English only
  (the boxed-answer instruction also in Chinese). A tenth of all problems, by a hash of family and numbers, is
  held out.
* Training: `{facts["command"]}` on {facts["device"]}, {facts["date"]}: {facts["steps"]} steps, {
        facts["tokens"] / 1e6:.0f} M
  tokens, {
        facts[
            "seconds"
        ]:.0f} s. The schedule follows the clock, so a second run gives other weights of like quality.
* Licence: MIT.

## Measured by the training script's sampler ({usual}; 95 % Wilson intervals; held-out items)
| what | rate |
| --- | --- |
{table}

Mean reply: {tokens} tokens. A reply that does not end counts as wrong. The mix of levels was chosen
so that both models are right on 70 to 85 % of the items: the figures describe that mix, not an ability.

## Limits
It knows eighteen families of word problems in the wordings of its generator, recall, and one kind of report.
Anything else gives nonsense. Products of large numbers, which it writes down at once, are mostly wrong by
design.
"""
