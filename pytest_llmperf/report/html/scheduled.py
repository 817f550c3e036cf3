"""The section about loads without a fixed concurrency: open loops, replays, conversations, sweeps, the highest rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import LoadToTry, Plot, Section
from pytest_llmperf.report.plots import by_row, fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_interval, format_value, percent

if TYPE_CHECKING:
    from pytest_llmperf.record.model import LoadEntry, Tail

CAPTIONS = {
    "open loop": "Open loops and replays",
    "conversations": "Conversations",
    "sweep": "Sweeps, level by level",
    "max rate": "Search for the highest rate",
}
"""By the purpose of a load, in the order of the page."""
_COLUMNS = (
    "load",
    "model",
    "requests",
    "failed",
    "requests/s",
    "tokens/s",
    "TTFT p50",
    "TTFT p95",
    "TPOT p50",
    "TPOT p95",
    "sent late, p95",
)
_HOW = (
    "Requests are sent when they are due, whether or not earlier ones were answered; in a sweep by requests in flight, "
    "when an earlier one was. Times count from when a request was due. In brackets: 95 % bounds."
)
_MOST_TRIED = 20_000
"""Requests, of all loads together, that the page holds for an SLO to be tried: some 300 kilobytes."""


@dataclass(frozen=True)
class _Shown:
    """One load and its numbers."""

    entry: LoadEntry

    @property
    def name(self) -> str:
        """``80 requests/s``, ``16 at a time``, or the schedule in words."""
        entry = self.entry
        if entry.schedule:
            return entry.schedule
        return f"{entry.rate:g} requests/s" if entry.rate is not None else f"{entry.concurrency:,} at a time"

    @property
    def level(self) -> float:
        """Where it stands on the axis of a plot: requests a second, else requests in flight."""
        return float(self.entry.concurrency or 0) if self.entry.rate is None else self.entry.rate

    @property
    def sent(self) -> int:
        return sum(each.requests for each in self.entry.rounds)

    @property
    def failed(self) -> int:
        return sum(sum(each.errors.values()) for each in self.entry.rounds)

    @property
    def seconds(self) -> float:
        return sum(each.window_s or 0.0 for each in self.entry.rounds)

    @property
    def output(self) -> float | None:
        """Output tokens a second."""
        tokens = sum(each.output_tokens or 0 for each in self.entry.rounds)
        return tokens / self.seconds if self.seconds and tokens else None

    def tail(self, metric: str, quantile: str) -> Tail | None:
        return self.entry.tails.get(metric, {}).get(quantile)

    def cell(self, metric: str, quantile: str) -> str:
        """``86.9 ms (81.2 ms … 95.0 ms)``, a median without its bounds; a dash where there is none."""
        if (tail := self.tail(metric, quantile)) is None:
            return "—"
        if quantile == "p50" or (tail.low, tail.high) == (None, None):
            return format_value(tail.value, "s")
        return f"{format_value(tail.value, 's')} ({format_interval((tail.low, tail.high), 's')})"

    @property
    def reached(self) -> str:
        """Requests that were answered in a second, of those that were meant to be sent."""
        answered = f"{(self.sent - self.failed) / self.seconds:.3g}" if self.seconds else "—"
        return answered if self.entry.rate is None else f"{answered} of {self.entry.rate:.3g}"

    @property
    def cells(self) -> tuple[str, ...]:
        output = self.output
        return (
            self.name,
            self.entry.row,
            f"{self.sent:,}",
            f"{self.failed:,} ({percent(self.failed / self.sent)})" if self.failed else "0",
            self.reached,
            "—" if output is None else format_value(output, "tok/s"),
            self.cell("ttft", "p50"),
            self.cell("ttft", "p95"),
            self.cell("tpot", "p50"),
            self.cell("tpot", "p95"),
            self.cell("schedule_delay", "p95"),
        )

    @property
    def to_try(self) -> LoadToTry | None:
        """Its requests, where each has both times; None where some have not, so that they can't be paired."""
        ttft_s = [value for each in self.entry.rounds for value in each.ttft_s]
        tpot_s = [value for each in self.entry.rounds for value in each.tpot_s]
        if len(ttft_s) != len(tpot_s):
            return None
        pairs = [pair for pair in zip(ttft_s, tpot_s, strict=True) if pair[0] is not None]
        both = [(ttft, tpot) for ttft, tpot in pairs if ttft is not None and tpot is not None]
        if not both or len(both) < len(pairs):
            return None
        times = (" ".join(f"{1000 * value:.4g}" for value in several) for several in zip(*both, strict=True))
        return LoadToTry(self.name, self.entry.row, self.entry.rate, self.sent, *times)


def scheduled_section(facts: Facts) -> Section | None:
    """Return the loads without a fixed concurrency, their curves, and what an SLO can be tried on; None without any."""
    shown = [_Shown(entry) for entry in facts.record.scheduled_load if entry.rounds]
    if not shown:
        return None
    order = {row: at for at, row in enumerate(facts.rows)}
    tables: list[Table] = []
    plots: list[Plot] = []
    for purpose, caption in CAPTIONS.items():
        several = [load for load in shown if load.entry.purpose == purpose]
        several.sort(key=lambda load: (load.level, load.name, order.get(load.entry.row, len(order))))
        if several:
            tables.append(Table(_COLUMNS, [load.cells for load in several], range(2, len(_COLUMNS)), caption))
            plots += _curves(facts, caption, several)
    return Section(
        "scheduled",
        "Loads on a schedule, sweeps",
        [_HOW, *_disturbed(shown)],
        plots,
        tables,
        loads_to_try=_to_try(shown),
        tables_first=True,
    )


def _disturbed(shown: Sequence[_Shown]) -> Iterator[str]:
    for load in shown:
        for why in dict.fromkeys(each.taken_out for each in load.entry.rounds if each.taken_out):
            yield f"Not judged, {load.entry.row} at {load.name}: {why}"


def _curves(facts: Facts, caption: str, loads: Sequence[_Shown]) -> Iterator[Plot]:
    """Throughput and TTFT against the level, for each kind of level that has several."""
    # Two open loops at one rate are two loads, with prompts of their own, and no curve leads through them.
    if len({(load.entry.row, load.level) for load in loads}) < len(loads):
        return
    for axis, by_rate in (("requests a second", True), ("concurrent requests", False)):
        same = [load for load in loads if (load.entry.rate is not None) == by_rate and load.level]
        if len({load.level for load in same}) < 2:
            continue
        points = {
            "Time to first token, p95": [
                _point(load, 1000 * tail.value, _in_ms(tail), format_value(tail.value, "s"))
                for load in same
                if (tail := load.tail("ttft", "p95")) is not None
            ],
            "Output throughput": [
                _point(load, output, (None, None), format_value(output, "tok/s"))
                for load in same
                if (output := load.output) is not None
            ],
        }
        for name, values in points.items():
            if len({value["concurrency"] for value in values}) < 2:
                continue
            is_time = name.startswith("Time")
            yield Plot(
                f"{caption}: {name[0].lower()}{name[1:]}",
                f"{name} of each model against {axis}. The numbers are in the table.",
                fill_plot(
                    "against_concurrency",
                    values,
                    x=axis,
                    axis="milliseconds, logarithmic" if is_time else "tokens per second",
                    scale={"type": "log"} if is_time else {"type": "linear", "zero": True},
                    format="~g" if is_time else ",~f",
                    **by_row(facts.rows),
                ),
            )


def _point(
    load: _Shown, value: float, ends: tuple[float | None, float | None], shown: str
) -> dict[str, float | str | None]:
    return {
        "concurrency": load.level,
        "row": label(load.entry.row),
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "shown": shown,
    }


def _in_ms(tail: Tail) -> tuple[float | None, float | None]:
    low, high = (None if end is None else 1000 * end for end in (tail.low, tail.high))
    return (low, high) if low is not None and high is not None else (None, None)


def _to_try(shown: Sequence[_Shown]) -> Sequence[LoadToTry]:
    """The loads whose requests the page holds, the smallest first where they are too many."""
    found, left = [], _MOST_TRIED
    for load in sorted(shown, key=lambda load: load.sent):
        if (one := load.to_try) is not None and load.sent <= left:
            left -= load.sent
            found.append(one)
    rates = {id(one): at for at, one in enumerate(sorted(found, key=lambda one: (one.row, one.rate or 0.0)))}
    return sorted(found, key=lambda one: rates[id(one)])
