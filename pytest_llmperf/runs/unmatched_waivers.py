"""Waivers that are about no test: a renamed test gates again, and its waiver would lie about it for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pytest_llmperf.config.toml_errors import closest


def unmatched(
    waived: Iterable[str],
    collected: Collection[str],
    root: Path,
    in_part: Collection[Path] = (),
    *,
    rows: Collection[str] = (),
    candidates: Collection[str] = (),
) -> Iterator[str]:
    """A line for each waived node id that was not ``collected`` although its file was, or is not below ``root``.

    A run of some files only says nothing of the waivers of the others, nor of those of files that are ``in_part`` of
    it (absolute paths), for which pytest was given node ids. Nor does a run of ``candidates`` say anything of waivers
    for the same tests with another of the catalogue's ``rows``.
    """
    others = [row for row in rows if row not in candidates]
    files = {test.partition("::")[0] for test in collected}
    for test in waived:
        file = test.partition("::")[0]
        path = (root / file).resolve()
        if test in collected or path in in_part or (file not in files and path.is_file()):
            continue
        if any(swapped in collected for swapped in _with_rows(test, others, candidates)):
            continue
        near = closest(test, collected, cutoff=0.8)
        meant = f"; did you mean {near}?" if near else ""
        yield f"the waiver of {test} matches no test{meant}"


def _with_rows(test: str, rows: Iterable[str], candidates: Collection[str]) -> Iterator[str]:
    """The node id with each of ``candidates`` in place of the row that it names, the first word of its brackets."""
    function, _, parameters = test.partition("[")
    for row in rows:
        rest = parameters.removeprefix(row)
        if rest != parameters and rest[:1] in ("-", "]"):
            yield from (f"{function}[{candidate}{rest}" for candidate in candidates)
