"""Waivers that are about no test: a renamed test gates again, and its waiver would lie about it for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pytest_llmperf.config.toml_errors import closest


def unmatched(waived: Iterable[str], collected: Collection[str], root: Path) -> Iterator[str]:
    """A line for each waived node id that was not ``collected`` although its file was, or is not below ``root``.

    A run of some files only says nothing of the waivers of the others.
    """
    files = {test.partition("::")[0] for test in collected}
    for test in waived:
        file = test.partition("::")[0]
        if test in collected or (file not in files and (root / file).is_file()):
            continue
        near = closest(test, collected, cutoff=0.8)
        meant = f"; did you mean {near}?" if near else ""
        yield f"the waiver of {test} matches no test{meant}"
