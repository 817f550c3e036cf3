"""Decisions as a table for a terminal and as a page in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from contrib.claims.claim import ANY, Decision, Sheet
from contrib.claims.deciding import counts
from pytest_llmperf.report.table import Table

_INDENT = "    "
_HEADER = ("claim", "published", "on", "measured or computed", "verdict")


def decision_to_json(one: Decision) -> dict[str, Any]:
    """As the record of a run keeps it: words, figures and reason, and nothing that has to be looked up."""
    return {
        "claim": one.claim.name,
        "words": one.claim.words,
        "source": one.claim.source,
        "published": one.claim.written,
        "device": one.device,
        "measured": one.measured,
        "verdict": one.outcome.value,
        "reason": one.why,
        "n_needed": one.n_needed,
    }


def claim_table(decisions: Sequence[Decision], *, reasons: bool = True, width: int = 200) -> list[str]:
    """Lines: a header, each decision with its reason below it, and how many of each there are."""
    return claim_lines([decision_to_json(one) for one in decisions], reasons=reasons, width=width)


def claim_lines(decided: Sequence[Mapping[str, Any]], *, reasons: bool = True, width: int = 200) -> list[str]:
    """The same from what a record keeps, in lines of ``width`` characters at most: a block for each decision, the
    verdict first, where the table's columns do not fit."""
    lines = Table(_HEADER, [*map(_cells, decided)]).to_text() or ["  ".join(_HEADER)]
    fits = max(map(len, lines)) <= width
    told = [lines[0]] if fits else []
    for line, one in zip(lines[1:], decided, strict=True):
        told += [line] if fits else _wrapped(_block(one), width, indented=False)
        if reasons:
            told += _wrapped(str(one["reason"]), width, indented=True)
    return [*told, *_wrapped(counts([str(one["verdict"]) for one in decided]), width, indented=False)]


def _block(one: Mapping[str, Any]) -> str:
    name, published, device, measured, verdict = _cells(one)
    on = f" on {device}" if device else ""
    return f"{verdict}: {name}: published {published}{on}, measured or computed {measured}"


def _wrapped(text: str, width: int, *, indented: bool) -> list[str]:
    first = _INDENT if indented else ""
    return textwrap.wrap(
        text, max(width, 20), initial_indent=first, subsequent_indent=_INDENT, break_on_hyphens=False
    )


PAGE_HEAD = """# Published claims, and which of them hold

Every claim of the files in `contrib/claims/suite/`, decided by arithmetic on the model's own `config.json`, by the
limits of a device's data sheet, or by the record of a run. A claim that none of them decides is *not testable here*,
with what is missing. Only a measurement or arithmetic confirms. A claim about a device is judged on that device and on
the device of each record.

This page is written by a command. To see one claim, by its name in the file:
`python -m pytest -p contrib.claims.plugin contrib/claims/suite -v -rsx -k speed-distill`.
"""


def claim_page(sheet: Sheet, decisions: Sequence[Decision], command: str) -> str:
    """A section in Markdown: the claim, what was measured, the verdict, the reason."""
    lines = [
        f"## {plain(sheet.title)}",
        "",
        f"Written by `{command}`. {counts([one.outcome.value for one in decisions])}.",
        "",
        "| claim | published | on | measured or computed | verdict | why |",
        "|---|---|---|---|---|---|",
    ]
    for one in decisions:
        claim = one.claim
        cells = (claim.words, claim.written, one.device, one.measured or "—", f"**{one.outcome}**", one.why)
        told = [*(plain(cell) for cell in cells[:4]), cells[4], plain(cells[5])]
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _cells(one: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    device = "" if one["device"] == ANY else one["device"]
    return one["claim"], repr(one["published"])[1:-1], device, one["measured"] or "—", one["verdict"]


def plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is, on one line."""
    shown = text.replace("\n", "\\n")
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("*", "\\*")):
        shown = shown.replace(character, safe)
    return shown
