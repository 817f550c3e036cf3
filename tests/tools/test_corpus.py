"""Training examples: the loss covers replies only, and lengths are what the models were built for."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_llmperf.embedded.recall import recall_conversation
from pytest_llmperf.embedded.summary import summary_item
from tools.tiny_pair import corpus
from tools.tiny_pair.batches import BUCKETS, bucketed, epochs, merge
from tools.tiny_pair.corpus import Piece
from tools.tiny_pair.prompts import chatml

if TYPE_CHECKING:
    from tokenizers import Tokenizer

pytest.importorskip("tokenizers", reason="encoding needs the tokenizers package")


@pytest.fixture(scope="module")
def words() -> object:
    from tools.tiny_pair.tokenizer import build, corpus_texts

    built = build(corpus_texts(problems=2_500))
    corpus._start_worker(built.to_str())
    return built


def _piece(lengths: list[int]) -> Piece:
    ids = np.concatenate([np.full(n, i + 1, np.int16) for i, n in enumerate(lengths)])
    return Piece(ids, np.array(lengths, np.int32), np.array([n // 2 for n in lengths], np.int32))


def test_digits_are_single_tokens_and_thinking_marks_are_visible_text(words: Tokenizer) -> None:
    assert words.encode("Cups: 347 * 26").tokens[-6:] == ["4", "7", "Ġ*", "Ġ", "2", "6"]
    ids = words.encode("<think>\n7\n</think>").ids
    assert words.decode(ids, skip_special_tokens=True) == "<think>\n7\n</think>"
    assert words.token_to_id("</think>") in ids
    assert words.get_vocab_size() == 768


@pytest.mark.parametrize("tokens", [256, 512, 1_024, 1_800])
def test_recall_conversations_have_the_asked_number_of_tokens(words: Tokenizer, tokens: int) -> None:
    texts = [chatml(recall_conversation(seed, tokens).messages) for seed in range(20)]
    lengths = [len(ids) for ids in corpus.encode(words, texts)]
    assert max(lengths) <= 1.2 * tokens
    assert np.mean(lengths) == pytest.approx(tokens, rel=0.1)


@pytest.mark.parametrize("tokens", [200, 450])
def test_reports_have_the_asked_number_of_tokens(words: Tokenizer, tokens: int) -> None:
    lengths = [len(ids) for ids in corpus.encode(words, [summary_item(s, tokens).prompt for s in range(20)])]
    assert np.mean(lengths) == pytest.approx(tokens, rel=0.1)


def test_examples_fit_the_positions_and_most_replies_are_short(words: object) -> None:
    piece = corpus.plain_piece(1, 400)
    assert piece.lengths.max() <= BUCKETS[-1]
    assert (piece.lengths - piece.prompts).mean() <= 90
    thinking = corpus.other_thinking_piece(1, 100)
    assert thinking.lengths.max() <= BUCKETS[-1]


def test_an_example_is_a_prompt_and_a_reply_with_its_end_token(words: Tokenizer) -> None:
    piece = corpus.plain_piece(2, 30)
    starts = np.cumsum(piece.lengths) - piece.lengths
    for start, length, prompt in zip(starts, piece.lengths, piece.prompts, strict=True):
        row = piece.ids[start : start + length].tolist()
        head = words.decode(row[:prompt], skip_special_tokens=False)
        assert head.endswith("<|im_start|>assistant\n")
        assert row[-1] == words.token_to_id("<|im_end|>")


def test_a_piece_is_a_function_of_its_seed(words: object) -> None:
    assert np.array_equal(corpus.plain_piece(3, 20).ids, corpus.plain_piece(3, 20).ids)
    assert not np.array_equal(corpus.plain_piece(3, 20).ids, corpus.plain_piece(4, 20).ids)


def test_wrong_samples_are_mended_or_dropped_and_right_ones_kept(words: Tokenizer) -> None:
    rng = random.Random("asked/7")
    right_texts = [
        f"{p.solution}\nSo the answer is \\boxed{{{p.answer}}}."
        for p in (corpus._any_problem(rng) for _ in range(40))
    ]
    own = [np.array(ids, np.int16) for ids in corpus.encode(words, right_texts)]
    piece, right = corpus.rewritten_piece(7, own)
    assert (right, len(piece.lengths)) == (40, 40)
    wrong = [
        np.array(ids, np.int16) for ids in corpus.encode(words, ["One: 1 + 1 = 2.\nThe answer is 2."] * 40)
    ]
    piece, right = corpus.rewritten_piece(7, wrong)
    assert right <= 2
    assert 10 <= len(piece.lengths) <= 30


def test_batches_pad_on_the_right_and_keep_every_token() -> None:
    pieces = [_piece([5, 97, 60, 130] * 40) for _ in range(3)]
    for batch in bucketed(iter(pieces), 128 * 16):
        width = batch.ids.shape[1]
        assert width in BUCKETS
        inside = np.arange(width)[None] < batch.lengths[:, None]
        assert (batch.ids[~inside] == 0).all()
        assert (batch.ids[inside] != 0).all()
        assert (batch.prompts < batch.lengths).all()


def test_an_epoch_shows_each_row_of_full_batches_once() -> None:
    piece = _piece(list(range(30, 90)))
    rows: list[int] = []
    for batch, _ in zip(epochs(piece, 96 * 20, seed=1), range(3), strict=False):
        rows += batch.ids[:, 0].tolist()
    assert sorted(rows) == list(range(1, 61))


def test_merged_pieces_hold_all_examples() -> None:
    whole = merge([_piece([4, 6]), _piece([3])])
    assert whole.lengths.tolist() == [4, 6, 3]
    assert len(whole.ids) == 13
