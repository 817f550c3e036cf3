"""Prompts are counted by the tokenizer of the weights, with its own first token or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.client.tokenizer import can_count_locally, count_locally

# The library is an engine's: it is there where the engines are.
pytestmark = pytest.mark.vllm
tokenizers = pytest.importorskip("tokenizers", reason="counting needs the tokenizers package")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A token a word, and one that the tokenizer puts before every text."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[B]": 0, "one": 1, "two": 2, "?": 3}, unk_token="?")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[B] $A", special_tokens=[("[B]", 0)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_tokenizers_own_token_is_counted_where_it_puts_one(weights: Path) -> None:
    texts = ["one", "one two three", ""]
    assert count_locally(weights, texts, special_tokens=False) == [1, 3, 0]
    assert count_locally(weights, texts, special_tokens=True) == [2, 4, 1]


def test_weights_without_a_tokenizer_cannot_be_counted(weights: Path, tmp_path: Path) -> None:
    assert can_count_locally(weights)
    assert not can_count_locally(tmp_path / "elsewhere")
    assert not can_count_locally(None)
