"""Claims held against several records: a row a claim, and a column for each record's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contrib.claims.claim import ANY, Decision, Sheet
from contrib.claims.deciding import counts
from contrib.claims.table import plain


def columns_page(
    sheet: Sheet,
    without: Sequence[Decision],
    records: Sequence[tuple[str, Sequence[Decision]]],
    command: str,
) -> str:
    """A section in Markdown. ``without``: what no record is needed for; ``records``: by device, what each decides."""
    told = [
        f"{name}: {counts([one.outcome.value for one in _here(decisions).values()])}."
        for name, decisions in records
    ]
    lines = [
        f"## {plain(sheet.title)}",
        "",
        f"Written by `{command}`. {' '.join(told)}",
        "",
        f"| claim | published | without a run | {' | '.join(plain(name) for name, _ in records)} |",
        "|---|---|---|" + "---|" * len(records),
    ]
    columns = [_here(decisions) for _, decisions in records]
    for claim in sheet.claims:
        alone = _elsewhere(claim.name, without)
        cells = [plain(claim.words), plain(claim.written), _cell(alone, None)]
        cells += [_cell(column[claim.name], alone) for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _here(decisions: Sequence[Decision]) -> Mapping[str, Decision]:
    """By claim the last decision: that on the device that is named comes before that on the one at hand."""
    return {one.claim.name: one for one in decisions}


def _elsewhere(claim: str, without: Sequence[Decision]) -> Decision | None:
    """Decision for any device, or for the one that the claim names; None if it names none."""
    first = next(one for one in without if one.claim.name == claim)
    named = first.claim.protocol.device is not None
    return first if named or first.device == ANY else None


def _cell(one: Decision | None, alone: Decision | None) -> str:
    """The verdict and its reason, or of the reason only what the column without a run does not say."""
    if one is None:
        return "—"
    on = f"{one.device}: " if alone is None and one.device != ANY else ""
    why = one.why
    if alone is not None and one.device == ANY:
        why = why.removeprefix(alone.why).removeprefix("; ")
    return f"{on}**{one.outcome}**" + (f": {plain(why)}" if why else "")
