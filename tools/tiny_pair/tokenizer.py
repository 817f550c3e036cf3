"""The pair's tokenizer: byte-level BPE with 768 entries, every digit a token of its own.

Needs ``tokenizers``, imported inside the functions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.embedded.problems import generate
from pytest_llmperf.embedded.recall import ENGLISH, recall_conversation
from pytest_llmperf.embedded.summary import summary_item
from tools.tiny_pair import prompts
from tools.tiny_pair.replies import (
    acknowledgement_thought,
    plain_reply,
    summary_thought,
    thinking_reply,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 768


def corpus_texts(problems: int = 6_000, seed: int = 0) -> Iterator[str]:
    """The texts to learn merges from: questions, both kinds of replies, conversations, reports."""
    rng = random.Random(f"tokenizer/{seed}")
    for problem in generate("train", seed, problems):
        instruction = prompts.CHINESE if rng.random() < 0.2 else ENGLISH
        yield f"{problem.question}\n{instruction}"
        yield plain_reply(problem.solution, problem.answer, instructed=rng.random() < 0.7, rng=rng)
        yield thinking_reply(problem.solution, problem.answer, instructed=True, rng=rng).text
    for i in range(problems // 20):
        item = recall_conversation(i, 300, split="train")
        yield "\n".join(f"{m['role']}\n{m['content']}" for m in item.messages)
        report = summary_item(i, 300, split="train")
        yield f"{report.prompt}\n{report.reference}\n{summary_thought(report.key_facts, report.reference)}"
        yield acknowledgement_thought("Noted.")


def build(texts: Iterable[str]) -> Tokenizer:
    """Learn the merges. ``<think>`` and ``</think>`` are single tokens that show in the output."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in prompts.SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    cleaned = (text.replace(prompts.THINK, "").replace(prompts.END_THINK, "") for text in texts)
    tokenizer.train_from_iterator(cleaned, trainer)
    tokenizer.add_tokens(
        [AddedToken(text, special=False, normalized=False) for text in (prompts.THINK, prompts.END_THINK)]
    )
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise RuntimeError(
            f"the tokenizer has {tokenizer.get_vocab_size()} entries, {VOCABULARY} were wanted"
        )
    return tokenizer


def save(
    tokenizer: Tokenizer, directory: Path, *, template: str, bos: str, eos: str, max_length: int
) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` with the chat template inside."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    special = {
        str(tokenizer.token_to_id(text)): {
            "content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": text in prompts.SPECIAL,
        }
        for text in (*prompts.SPECIAL, prompts.THINK, prompts.END_THINK)
    }  # fmt: skip
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": special,
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": prompts.PAD,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": template,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
