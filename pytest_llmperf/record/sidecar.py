"""Files beside a record, read only if they have the checksum that the record states."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmperf.record.model import TableFile

AGAIN = "record the run again with --llmperf-record"


def read_sidecar(record: Path, about: TableFile, content: str) -> tuple[Path, bytes]:
    """Path and content of the file ``about``, which lies beside ``record``; ``content`` names the content in messages.

    Raises :class:`UsageError`, one line, if it cannot be read or has another checksum.
    """
    # Only the name counts: a record that was moved has its files beside it, and must not point elsewhere.
    path = record.with_name(Path(about.file).name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: the record's {content} cannot be read: {error.strerror}; keep it beside {record.name}"
        ) from error
    if hashlib.sha256(data).hexdigest() != about.sha256:
        raise UsageError(
            f"{path}: not the {content} that {record.name} was written with (its SHA-256 differs); {AGAIN}"
        )
    return path, data
