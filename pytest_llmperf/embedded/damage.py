"""A planted regression: a copy of a model whose weights carry seeded noise. Needs numpy only.

The noise is drawn by numpy's PCG64 normal stream, so the copy is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from pytest_llmperf.json_values import JsonObject

STAMP = "damage.json"
WEIGHTS = "model.safetensors"


def _noisy(bits: npt.NDArray[np.uint16], rng: np.random.Generator, amount: float) -> npt.NDArray[np.uint16]:
    """bf16 bits plus noise of ``amount`` times their standard deviation, rounded to nearest even."""
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    # Four digits: the last bits of a sum depend on the machine's vector width, and the copy must not.
    spread = float(f"{float(values.std(dtype=np.float64)):.4g}")
    noisy = (values + rng.standard_normal(values.shape) * (amount * spread)).astype(np.float32)
    word = noisy.view(np.uint32)
    return ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).astype(np.uint16)


class _Tensor(TypedDict):
    """The entry of a tensor in the header of a safetensors file."""

    dtype: str
    data_offsets: tuple[int, int]


def damaged_bytes(data: bytes, seed: int, amount: float) -> bytes:
    """A safetensors file with noise on every tensor; ``ValueError`` unless all tensors are bf16.

    ``amount`` is the noise's standard deviation in units of each tensor's own.
    """
    size = int.from_bytes(data[:8], "little")
    header: dict[str, _Tensor] = json.loads(data[8 : 8 + size])
    body = bytearray(data[8 + size :])
    for name in sorted(key for key in header if key != "__metadata__"):
        entry = header[name]
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}; only BF16 weights can be damaged")
        start, end = entry["data_offsets"]
        # A stream of its own for every tensor: the noise does not depend on the order or number of the
        # others.
        stream = np.random.default_rng(
            [seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")]
        )
        bits = np.frombuffer(bytes(body[start:end]), dtype="<u2").astype(np.uint16)
        body[start:end] = _noisy(bits, stream, amount).astype("<u2").tobytes()
    return data[: 8 + size] + bytes(body)


def damage(src_dir: str | Path, dst_dir: str | Path, seed: int, amount: float) -> Path:
    """Make ``dst_dir`` a copy of the model in ``src_dir`` with noise on its weights, and return it.

    Does nothing when ``dst_dir`` already is that copy. Otherwise writes a temporary directory beside it and
    renames, so that another process sees the whole copy or none. Raises ``FileNotFoundError`` without source
    weights, ``ValueError`` for weights that are not bf16, ``FileExistsError`` when ``dst_dir`` is something
    else.
    """
    source, target = Path(src_dir), Path(dst_dir)
    data = (source / WEIGHTS).read_bytes()
    stamp: JsonObject = {"source_sha256": hashlib.sha256(data).hexdigest(), "seed": seed, "amount": amount}
    if _is_copy(target, stamp):
        return target
    if target.exists() and not (target / STAMP).is_file():
        raise FileExistsError(f"{target} exists and is no damaged copy; name another directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for item in sorted(source.iterdir()):
            if item.is_file() and item.name != WEIGHTS:
                shutil.copyfile(item, temporary / item.name)
        (temporary / WEIGHTS).write_bytes(damaged_bytes(data, seed, amount))
        (temporary / STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        try:
            temporary.rename(target)
        except OSError:
            if not _is_copy(target, stamp):  # another process made the same copy first: that is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _is_copy(target: Path, stamp: JsonObject) -> bool:
    try:
        return bool(json.loads((target / STAMP).read_text()) == stamp)
    except (OSError, ValueError):
        return False
