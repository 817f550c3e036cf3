"""``merge RECORD…``: the verdict on a run whose tests were shared out to several machines."""

from __future__ import annotations

import argparse
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.cli.parts import command, references_argument, references_of, tell
from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.record.merge import merge
from pytest_llmperf.record.shard_set import read_shards
from pytest_llmperf.report.comment import results_of
from pytest_llmperf.report.exporters.base import FileExporter
from pytest_llmperf.report.exporters.junit_file import JunitFileExporter
from pytest_llmperf.report.exporters.markdown import MarkdownExporter
from pytest_llmperf.report.exporters.prometheus import PrometheusExporter
from pytest_llmperf.report.overview import overview_of, rows_of_gates
from pytest_llmperf.report.page import write_page
from pytest_llmperf.report.terminal import candidate_lines, verdict_table

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record

_BAD_DATA = 4
"""Exit code of a run whose data could not be asked, as pytest's own."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "merge",
        "judge a run by the records of its shards (pytest --llmperf-shard)",
        "Writes one record and its page. Exit code as that of the same run on one machine: 0 only if it is green. A "
        "missing or doubled shard, an incomplete record, another seed, suite, model, device or data set is INVALID.",
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="records of all shards")
    outputs(parser, "merged.json")
    parser.set_defaults(run=run)


def outputs(parser: argparse.ArgumentParser, record: str) -> None:
    """Add the options that say what is written; ``record`` is the default path of the record."""
    parser.add_argument(
        "--out", type=Path, default=Path(record), metavar="PATH", help=f"the record (default: {record})"
    )
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write a summary as Markdown here")
    parser.add_argument(
        "--metrics", type=Path, metavar="PATH", help="write the verdicts here, for Prometheus"
    )
    parser.add_argument(
        "--junitxml", type=Path, metavar="PATH", help="write the tests and their gates as JUnit here"
    )
    references_argument(parser, "--references")


def run(asked: argparse.Namespace, lost: Sequence[str] = ()) -> int:
    """Merge ``asked.records``. ``lost``: why further shards left no record; each makes the whole INVALID.

    Raises :class:`UsageError` if not one of the records is of a shard.
    """
    with _no_collections():
        return _merged(asked, lost)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No search for unreachable cycles: a merge makes millions of values and hardly a cycle, and a quarter of its time
    went into searching them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _merged(asked: argparse.Namespace, lost: Sequence[str]) -> int:
    out: Path = asked.out
    if any(out.resolve() == record.resolve() for record in asked.records):
        raise UsageError(f"--out {shown(out)} is the record of a shard: choose another path")
    shards = read_shards(asked.records, lost)
    exporters = [*_exporters(asked)]
    for exporter in exporters:
        exporter.begin({"candidate": ",".join(shards.first.record.candidates)})
    record = merge(shards, out)
    page = out.with_suffix(".html")
    write_page(out, page, references=references_of(asked.references))
    results = dataclasses.replace(results_of(record), files={"record": shown(out), "page": shown(page)})
    notes = [exporter.finish(results) for exporter in exporters]
    whole = record.outcome
    verdicts = record.judged
    tests = [entry.test for entry in record.verdicts]
    candidates = rows_of_gates(record)
    tell(line.text for line in verdict_table(verdicts, tests=tests, candidates=candidates))
    if several := overview_of(record):
        tell(["", *(line.text for line in candidate_lines(several))])
    tell(["", *whole.let_through, *results.notes])
    tell(f"INVALID as a whole: {problem}" for problem in shards.problems)
    if not whole.green and whole.look_first:
        tell(["start here", *(f"  {number}. {line}" for number, line in enumerate(whole.look_first, 1))])
    tell([f"record: {shown(out)}, page: {shown(page)}", *notes, f"{whole.headline}: {whole.why}"])
    return exit_code(record)


def exit_code(record: Record) -> int:
    """Return the exit code of the same run on one machine."""
    from pytest_llmperf.runs.exit_codes import UNDECIDED

    whole = record.outcome
    if record.run is not None and record.run.bad_data:
        return _BAD_DATA
    return 0 if whole.green else UNDECIDED if whole.undecided else 1


def _exporters(asked: argparse.Namespace) -> Iterator[FileExporter]:
    if asked.markdown:
        yield MarkdownExporter("Markdown", asked.markdown, "--markdown")
    if asked.metrics:
        yield PrometheusExporter("metrics", asked.metrics, "--metrics")
    if asked.junitxml:
        yield JunitFileExporter("JUnit", asked.junitxml, "--junitxml")
