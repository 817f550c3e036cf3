"""The header of a safetensors file: names, types and shapes of its tensors, without reading one of them.

Format: eight bytes with the header's length (little endian), the header as JSON, the tensors without gaps.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER_LIMIT = 100_000_000
"""Bytes; the library's own limit."""
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "BF16": 16, "C64": 64}


class HeaderError(ValueError):
    """The file is no whole safetensors file; ``str`` is half a sentence that goes on from the file's name."""


@dataclass(frozen=True)
class Tensor:
    """One entry of a header."""

    dtype: str
    """``BF16``, ``F32``, ``I8``, ``F8_E4M3`` …"""
    shape: tuple[int, ...]
    begin: int
    end: int
    """Bytes, counted from the end of the header."""


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names. Raises `HeaderError`, and `OSError` for a file that can't be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise HeaderError(f"has {size} bytes, too few for a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if length == 0:
            raise HeaderError("begins with zeros: it was not fetched to its end")
        if length > HEADER_LIMIT:
            raise HeaderError("is no safetensors file (its first bytes are no length of a header)")
        if 8 + length > size:
            raise HeaderError(f"is cut short: it has {size} bytes, its header alone takes {8 + length}")
        text = file.read(length)
    tensors = _tensors(text)
    needed = 8 + length + max((tensor.end for tensor in tensors.values()), default=0)
    if needed > size:
        raise HeaderError(f"is cut short: it has {size:,} bytes, {needed:,} are needed")
    if needed < size:
        raise HeaderError(f"has {size:,} bytes, {size - needed:,} more than its header names")
    return tensors


def _tensors(text: bytes) -> dict[str, Tensor]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise HeaderError("is no safetensors file (its header is no JSON)") from None
    if not isinstance(header, dict):
        raise HeaderError("is no safetensors file (its header is no JSON object)")
    return {name: _tensor(name, entry) for name, entry in header.items() if name != "__metadata__"}


def _tensor(name: str, entry: Any) -> Tensor:
    try:
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        dtype = str(entry["dtype"])
        whole = all(isinstance(number, int) and number >= 0 for number in (begin, end, *shape))
    except (KeyError, TypeError, ValueError):
        raise HeaderError(
            f"is no safetensors file (the entry of {name} in its header lacks a part)"
        ) from None
    if not whole or end < begin:
        raise HeaderError(f"has a damaged header (place and shape of {name} are no sizes)")
    bits = _bits(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        raise HeaderError(
            f"has a damaged header ({name}: {end - begin} bytes for {list(shape)} of {dtype}, "
            f"{math.ceil(math.prod(shape) * bits / 8)} are needed)"
        )
    return Tensor(dtype, shape, begin, end)


def _bits(dtype: str) -> int | None:
    """Width of a type; None for one that came after this was written."""
    if dtype in _BITS:
        return _BITS[dtype]
    digits = dtype.partition("_")[0].lstrip("FIU")
    return int(digits) if dtype[:1] in ("F", "I", "U") and digits.isdigit() else None


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Size of all tensors, bytes."""
    return sum(tensor.end - tensor.begin for tensor in tensors.values())
