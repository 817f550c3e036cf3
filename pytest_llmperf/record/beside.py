"""A file that lies beside a record, read only if it is the one that the record was written with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import UsageError

AGAIN = "record the run again with --llmperf-record"


def read_beside(record: Path, about: Mapping[str, Any], what: str, short: str) -> tuple[Path, bytes]:
    """The file that ``about`` (``file``, ``sha256``) names, and its bytes; ``what`` and ``short`` say what is in it.

    Raises :class:`UsageError`, one line, if it cannot be read or has another checksum.
    """
    # Only the name: a record that was moved has its files beside it, and points nowhere else.
    beside = record.with_name(Path(str(about["file"])).name)
    try:
        data = beside.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{beside}: {what} cannot be read: {error.strerror}; keep it beside {record.name}"
        ) from error
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise UsageError(
            f"{beside}: not the {short} that {record.name} was written with (its SHA-256 differs); {AGAIN}"
        )
    return beside, data
