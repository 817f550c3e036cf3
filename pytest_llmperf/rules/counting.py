"""How long a prompt is in the tokens of a row's weights, for a server that does not tell."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

_TOKENIZER = "tokenizer.json"


def can_count(directory: Path | None) -> bool:
    """Whether the weights there have a tokenizer that can be read here (the library ``tokenizers`` is an engine's)."""
    return (
        directory is not None
        and (directory / _TOKENIZER).is_file()
        and importlib.util.find_spec("tokenizers") is not None
    )


def lengths(directory: Path, texts: Sequence[str], *, own_first: bool) -> list[int]:
    """Tokens of each text; ``own_first`` counts those that the tokenizer puts there by itself."""
    return [
        len(one.ids) for one in _tokenizer(directory).encode_batch(list(texts), add_special_tokens=own_first)
    ]


@lru_cache(maxsize=4)
def _tokenizer(directory: Path) -> Any:
    """Read once: every portion of a task is counted."""
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(directory / _TOKENIZER))
