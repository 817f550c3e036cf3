"""Pieces into padded batches of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tools.tiny_pair.corpus import Counts, Ids, Piece

BUCKETS = (96, 128, 160, 192, 224, 256, 320, 384, 512, 640, 896, 1152, 1536, 2048)


@dataclass(frozen=True)
class Batch:
    """``ids`` (rows, width) padded with 0 on the right; per row its length and the length of its prompt."""

    ids: Ids
    lengths: Counts
    prompts: Counts


def _rows(piece: Piece, chosen: Counts, width: int) -> Batch:
    starts = np.cumsum(piece.lengths) - piece.lengths
    lengths = piece.lengths[chosen]
    column = np.arange(width)
    inside = column[None, :] < lengths[:, None]
    source = np.where(inside, starts[chosen][:, None] + column[None, :], 0)
    return Batch(np.where(inside, piece.ids[source], 0).astype(np.int16), lengths, piece.prompts[chosen])


def _join(parts: list[Batch]) -> Batch:
    return Batch(
        np.concatenate([p.ids for p in parts]),
        np.concatenate([p.lengths for p in parts]),
        np.concatenate([p.prompts for p in parts]),
    )


def bucketed(pieces: Iterable[Piece], tokens_per_batch: int) -> Iterator[Batch]:
    """Batches of ``tokens_per_batch // width`` rows (at least 4), as soon as a width has enough of them.

    Examples longer than the widest bucket are left out (there are none by construction); what is left in the
    buckets when ``pieces`` ends is not given out.
    """
    waiting: dict[int, list[Batch]] = {width: [] for width in BUCKETS}
    counts = dict.fromkeys(BUCKETS, 0)
    edges = np.array(BUCKETS)
    for piece in pieces:
        place = np.searchsorted(edges, piece.lengths)
        for index, width in enumerate(BUCKETS):
            chosen = np.flatnonzero(place == index).astype(np.int32)
            if not len(chosen):
                continue
            waiting[width].append(_rows(piece, chosen, width))
            counts[width] += len(chosen)
            size = max(4, tokens_per_batch // width)
            while counts[width] >= size:
                whole = _join(waiting[width])
                yield Batch(whole.ids[:size], whole.lengths[:size], whole.prompts[:size])
                waiting[width] = [Batch(whole.ids[size:], whole.lengths[size:], whole.prompts[size:])]
                counts[width] -= size


def merge(pieces: list[Piece]) -> Piece:
    """One piece that holds the examples of all."""
    return Piece(
        np.concatenate([p.ids for p in pieces]),
        np.concatenate([p.lengths for p in pieces]),
        np.concatenate([p.prompts for p in pieces]),
    )


def epochs(piece: Piece, tokens_per_batch: int, seed: int) -> Iterator[Batch]:
    """Endless batches over ``piece``; each epoch has a new order of rows and of batches."""
    rng = np.random.default_rng(seed)
    place = np.searchsorted(np.array(BUCKETS), piece.lengths)
    while True:
        plan: list[tuple[int, Counts]] = []
        for index, width in enumerate(BUCKETS):
            chosen = rng.permutation(np.flatnonzero(place == index)).astype(np.int32)
            size = max(4, tokens_per_batch // width)
            # A last short batch would have a weight of its own; its rows come in another epoch.
            whole = max(1, len(chosen) // size) * size if len(chosen) else 0
            plan += [(width, chosen[start : start + size]) for start in range(0, whole, size)]
        for number in rng.permutation(len(plan)):
            width, rows = plan[number]
            yield _rows(piece, rows, width)
