"""Decisions that need no weights: sizes, limits, published rules, and figures against their own n."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist

from contrib.claims.claim import ANY, Claim, Decision, ModelFacts, Outcome
from pytest_llmperf.engines.vllm_failures import KNOWN
from pytest_llmperf.load.roofline import (
    FORMATS,
    Format,
    Limits,
    Roofline,
)
from pytest_llmperf.stats.sample_size import items_for_margin
from pytest_llmperf.units import format_value

_PLAIN = "quantisation that the weights don't have"
_OTHER = "another quantisation than the weights have"


def decide_by_arithmetic(claim: Claim) -> Decision | None:
    """The decision where the claim's own data suffice; None where something must be measured."""
    decide = _DECIDERS.get(claim.kind)
    return None if decide is None else decide(claim)


def why_impossible(claim: Claim, device: Limits | None) -> str | None:
    """The sentence that refuses the value on ``device``, whatever was measured; None if it may be."""
    if claim.kind == "accuracy":
        return _not_a_share(claim)
    if claim.kind == "peak memory" and claim.holds != "at least":
        least = _least_bytes(claim.model, claim.stored) + claim.model.architecture.kv_bytes_per_token()
        if claim.value * (1.0 + claim.tolerance) < least:
            return f"the weights and one token of cache alone are {format_value(least, 'bytes')}"
    if device is None or (claim.holds == "at most" and claim.kind == "speed"):
        return None
    roofline = Roofline(claim.model.architecture, device, claim.stored)
    if claim.kind == "speed":
        return roofline.why_impossible_throughput(claim.value * (1.0 - claim.tolerance), claim.concurrency)
    if claim.kind == "first token" and claim.holds != "at least":
        return roofline.why_impossible_first_token(claim.value * (1.0 + claim.tolerance), claim.prompt_tokens)
    return None


def _size(claim: Claim) -> Decision:
    model, stored = claim.model.architecture, claim.stored
    size, least = model.weight_bytes(stored), _least_bytes(claim.model, stored)
    low, high = claim.value * (1.0 - claim.tolerance), claim.value * (1.0 + claim.tolerance)
    each = (
        "in its own dtype" if stored.bits is None else f"with {stored.bits}-bit linear layers ({stored.name})"
    )
    why = f"{model.parameters:,} parameters {each} are {size / 1e9:.2f} GB, {claim.written} was published"
    if high < least:
        if stored.bits is not None:
            why += f"; with every parameter in {stored.bits} bits they would still be {least / 1e9:.2f} GB"
        return _decided(claim, Outcome.IMPOSSIBLE, f"{size / 1e9:.2f} GB", why)
    outcome = Outcome.CONFIRMED if low <= size <= high else Outcome.REFUTED
    if outcome is Outcome.REFUTED and low <= least <= high:
        why += f"; only with every parameter in {stored.bits} bits, which no format does, are they {least / 1e9:.2f} GB"
    return _decided(claim, outcome, f"{size / 1e9:.2f} GB", why)


def _shrinkage(claim: Claim) -> Decision:
    assert claim.against is not None
    whole = claim.against.architecture.weight_bytes()
    plain = claim.model.architecture.weight_bytes()
    size, least = claim.model.architecture.weight_bytes(claim.stored), _least_bytes(claim.model, claim.stored)
    shrunk = 1.0 - size / whole
    parts = []
    if claim.model is not claim.against:
        parts.append(f"{plain / 1e9:.2f} GB against {whole / 1e9:.2f} GB is {_percent(plain / whole - 1.0)}")
    if claim.stored.bits is not None:
        stored = f"{size / 1e9:.2f} GB against {whole / 1e9:.2f} GB is {_percent(size / whole - 1.0)}"
        parts.append(f"stored as {claim.stored.name} {stored}")
    why = ", ".join(parts) or "a model is as large as itself"
    if 1.0 - least / whole < claim.value:
        if claim.stored.bits is not None:
            why += f", and with every parameter in {claim.stored.bits} bits {_percent(least / whole - 1.0)}"
        return _decided(claim, Outcome.IMPOSSIBLE, _percent(-shrunk), why)
    outcome = Outcome.CONFIRMED if shrunk >= claim.value else Outcome.REFUTED
    return _decided(claim, outcome, _percent(-shrunk), why)


def _difference(claim: Claim) -> Decision:
    """Two published shares of n items each, of which nobody knows which items: the unpaired test is all they allow."""
    assert claim.figures is not None
    n = claim.protocol.items
    assert n is not None
    one, other = claim.figures
    pooled = (one + other) / 2.0
    z = (one - other) / math.sqrt(2.0 * pooled * (1.0 - pooled) / n) if 0.0 < pooled < 1.0 else 0.0
    p = 2.0 * NormalDist().cdf(-abs(z))
    margin = NormalDist().inv_cdf(0.975) * math.sqrt((one * (1.0 - one) + other * (1.0 - other)) / n)
    least, middle, most = (f"{100 * (one - other + side * margin):+.1f}" for side in (-1, 0, 1))
    measured = f"{middle} points, 95 % interval {least} … {most}"
    chance = f"z = {z:.2f}, p = {p:.2g} for two samples of {n:,}"
    if p < 0.05:
        why = f"the figures differ by more than chance explains ({chance}), if they are true: that takes the weights"
        return _decided(claim, Outcome.NOT_TESTABLE, measured, why)
    apart = one * (1.0 - other) + other * (1.0 - one)  # discordance of two that err independently
    needed = items_for_margin(-abs(one - other), 0.0, apart) if one != other else None
    more = (
        "" if needed is None else f"; about {needed:,} items each would tell such a difference in 4 of 5 runs"
    )
    return Decision(
        claim,
        ANY,
        Outcome.UNDECIDED,
        measured,
        _with_note(claim, f"chance explains it: {chance}{more}"),
        needed,
    )


def _recommended(claim: Claim) -> Decision:
    theirs = claim.model.recommended[claim.key]
    ours = claim.written if isinstance(theirs, str) else claim.value
    why = f"{claim.model.recommended_by} says {theirs!r} for {claim.key}, the claim says {ours!r}"
    return _if_published(claim, ours == theirs, repr(theirs), why)


def _starts(claim: Claim) -> Decision:
    """Decide a claim on a quantisation: vLLM refuses one that ``config.json`` does not name, before loading weights."""
    asked, own = claim.written, claim.model.quantised_with
    if asked == own:
        why = f"config.json names {own} as well: whether the engine loads it takes a start"
        return _decided(claim, Outcome.NOT_TESTABLE, "", why)
    failure = next(one for one in KNOWN if one.name == (_PLAIN if own is None else _OTHER))
    cause = failure.cause.format(method=asked, asked=asked, own=own, row=claim.model.name)
    return _decided(claim, Outcome.REFUTED, "does not start", f"a start that is known to fail: {cause}")


def _context(claim: Claim) -> Decision:
    longest = claim.model.architecture.context
    outcome = Outcome.CONFIRMED if claim.value <= longest else Outcome.REFUTED
    why = f"config.json allows {longest:,} tokens, {claim.value:,.0f} are claimed"
    return _decided(claim, outcome, f"{longest:,} tokens", why)


def _served_id(claim: Claim) -> Decision:
    """vLLM calls a model what ``--model`` was, unless ``--served-model-name`` says otherwise."""
    same = claim.written == claim.model.weights
    why = f"a server that is started on {claim.model.weights} and given no other name answers to exactly that"
    return _if_published(claim, same, claim.model.weights, why)


def _not_a_share(claim: Claim) -> str | None:
    """No count of right answers gives the published figure, as it is rounded (Brown and Heathers 2017, GRIM)."""
    if claim.protocol.items is None:
        return None
    asked = claim.protocol.items * claim.protocol.samples
    number = claim.written.rstrip(" %")
    step = 10.0 ** -(len(number.partition(".")[2]) + 2) if "%" in claim.written else 0.0
    nearest = round(claim.value * asked) / asked
    if not step or abs(nearest - claim.value) <= step / 2.0 + 1e-12:
        return None
    return (
        f"no count of {asked:,} answers gives {claim.written}: the nearest are "
        f"{100 * math.floor(claim.value * asked) / asked:.3f} and {100 * math.ceil(claim.value * asked) / asked:.3f} %"
    )


def _least_bytes(model: ModelFacts, stored: Format) -> float:
    """Least bytes that the weights take at this width, in any format."""
    if stored.bits is None:
        return model.architecture.weight_bytes()
    return model.architecture.weight_bytes(FORMATS[f"everything-{stored.bits}-bit"])


def _decided(claim: Claim, outcome: Outcome, measured: str, why: str) -> Decision:
    return Decision(claim, ANY, outcome, measured, _with_note(claim, why))


def _if_published(claim: Claim, same: bool, theirs: str, why: str) -> Decision:
    """Decide by what others published: it can refute a claim, but agreement with it shows nothing."""
    if same:
        return _decided(claim, Outcome.NOT_TESTABLE, theirs, f"{why}: agreed, and not measured")
    return _decided(claim, Outcome.REFUTED, theirs, why)


def _with_note(claim: Claim, why: str) -> str:
    return f"{why}; {claim.note}" if claim.note else why


def _percent(share: float) -> str:
    return f"{100 * share:+.0f} %"


_DECIDERS: Mapping[str, Callable[[Claim], Decision | None]] = {
    "size": _size,
    "shrinkage": _shrinkage,
    "difference": _difference,
    "recommended": _recommended,
    "starts": _starts,
    "context": _context,
    "served id": _served_id,
}
