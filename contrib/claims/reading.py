"""A file of claims → :class:`~contrib.claims.claim.Sheet`, every mistake named in one line.

The file, by example::

    title = "an article about two models"
    source = "a review article"        # of every claim that names none of its own
    profile = "gpu"                    # the profile of models.toml whose records say something about these models

    [model.distill]                    # a row's name
    weights = "org/name"
    [model.distill.config]             # values of its config.json
    model_type = "qwen2"
    [model.distill.recommended]        # what its makers recommend, for claims of the kind "recommended"
    source = "where they do"
    top_p = 0.95

    [claim.fast]
    words = "it generates 143 tokens a second on a T4"
    kind = "speed"
    model = "distill"
    holds = "at least"
    value = "143 tok/s"
    protocol = { device = "T4" }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from contrib.claims.claim import Claim, Holds, Kind, ModelFacts, Protocol, Sheet
from pytest_llmperf.config.fields import Text, in_range, quantity, within
from pytest_llmperf.config.models import STRICT
from pytest_llmperf.config.toml_errors import TomlTable, nearest, read_toml
from pytest_llmperf.errors import DataError
from pytest_llmperf.load.roofline import FORMATS, architecture_of
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.units import Unit, parse_quantity

UNITS: Mapping[str, Unit] = {
    "size": "bytes",
    "shrinkage": "share",
    "speed": "tok/s",
    "first token": "s",
    "cold start": "s",
    "peak memory": "bytes",
    "ratio": "ratio",
    "accuracy": "share",
    "difference": "points",
    "averaging": "points",
}
"""Unit of the value by kind; the value of any other kind is a number or a text without one."""
# What a claim of each kind must have beside words, kind, model and value, and what it may have.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "shrinkage": ("against",),
    "ratio": ("against", "of", "holds"),
    "speed": ("holds",),
    "first token": ("holds",),
    "cold start": ("holds",),
    "peak memory": ("holds",),
    "accuracy": ("task",),
    "difference": ("against", "figures"),
    "averaging": ("against", "figures", "task", "holds"),
    "recommended": ("key",),
    "gate": ("holds", "missing"),
}
_MAY: Mapping[str, tuple[str, ...]] = {
    "size": ("stored",),
    "shrinkage": ("stored",),
    "speed": ("stored", "concurrency"),
    "first token": ("stored", "concurrency", "prompt_tokens"),
    "peak memory": ("stored",),
    "ratio": ("concurrency", "task"),
    "accuracy": ("holds", "variant", "missing"),
    "gate": ("metric", "unit"),
}
_MEASURED = ("size", "speed", "first token", "cold start", "peak memory", "ratio", "accuracy", "gate")
_ALL = ("words", "source", "kind", "model", "value", "tolerance", "protocol", "note")


@dataclass(frozen=True)
class _Model:
    """``[model.NAME]``."""

    __pydantic_config__ = STRICT

    weights: Text
    config: Mapping[str, Any]
    recommended: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Protocol:
    """``protocol`` of a claim."""

    __pydantic_config__ = STRICT

    device: Text | None = None
    items: Annotated[int, within(1)] | None = None
    samples: Annotated[int, within(1)] = 1
    prompts: Text | None = None
    sampling: Text | None = None


@dataclass(frozen=True)
class _Claim:
    """``[claim.NAME]``: every key that a claim of some kind may have."""

    __pydantic_config__ = STRICT

    words: Text
    kind: Kind
    model: Text
    value: Any
    source: Text = ""
    holds: Holds = "about"
    tolerance: Annotated[float, quantity("share"), within(0, 1)] = 0.0
    against: Text | None = None
    protocol: _Protocol = field(default_factory=_Protocol)
    stored: Text = "plain"
    of: Literal["speed", "first token", "cold start", "peak memory", "accuracy"] | None = None
    concurrency: Annotated[int, within(1)] = 1
    prompt_tokens: Annotated[int, within(1)] = 1
    figures: tuple[str, ...] = ()
    key: Text = ""
    task: Text = ""
    metric: Text = ""
    variant: Text = "as promised"
    unit: Literal["s", "bytes", "tok/s", "share", "points", "ratio"] = "share"
    missing: Text = ""
    note: Text = ""


@dataclass(frozen=True)
class _File:
    """The keys above all tables."""

    title: Text
    profile: Text
    source: Text
    models: Annotated[Mapping[str, Any], Field(alias="model")]
    claims: Annotated[Mapping[str, Any], Field(alias="claim")]

    __pydantic_config__ = STRICT


def read_claims(path: Path) -> Sheet:
    """The sheet at ``path``. Raises :class:`~pytest_llmperf.errors.CatalogError` for every mistake in it."""
    # What it says goes on to terminals, JUnit files and pages, each by its own way.
    given = read_toml(path)
    root = replace(given, values=redact_values(given.values))
    head = root.parse(_File)
    models = {name: _model(name, table) for name, table in root.table("model").tables().items()}
    claims = root.table("claim").tables()
    if not claims:
        raise root.mistake("claim", "holds no claim")
    return Sheet(
        head.title,
        head.profile,
        tuple(_claim(name, table, models, head.source) for name, table in claims.items()),
    )


def _model(name: str, table: TomlTable) -> ModelFacts:
    given = table.parse(_Model)
    try:
        architecture = architecture_of(given.config)
    except DataError as error:
        raise table.mistake("config", str(error)) from None
    recommended = table.table("recommended")
    if recommended.values:
        recommended.must_have("source")
    settings: dict[str, str | float] = {}
    for key, value in recommended.values.items():
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise recommended.mistake(key, "must be a text or a number")
        if key != "source":
            settings[key] = value
    method = table.table("config").table("quantization_config").values.get("quant_method")
    return ModelFacts(
        name,
        given.weights,
        architecture,
        None if method is None else str(method),
        settings,
        str(recommended.values.get("source", "")),
    )


def _claim(name: str, table: TomlTable, models: Mapping[str, ModelFacts], source: str) -> Claim:
    given = table.parse(_Claim)
    needs = _NEEDS.get(given.kind, ())
    table.only((*_ALL, *needs, *_MAY.get(given.kind, ())))
    table.must_have(*needs)
    if given.kind in _MEASURED and given.holds == "about":
        table.must_have("tolerance")  # nothing that is measured is exactly what was published
    if given.kind == "ratio" and ("task" in table) != (given.of == "accuracy"):
        raise table.mistake("task", "belongs to a ratio of accuracies, and to no other")
    value, unit = _value(table, given)
    model = _row(table, "model", models)
    if given.key and given.key not in model.recommended:
        nearby = nearest(given.key, model.recommended)
        raise table.mistake("key", f"{model.name} has no such recommendation{nearby}")
    if given.stored not in FORMATS:
        raise table.mistake("stored", f"must be one of {', '.join(FORMATS)}")
    return Claim(
        name=name,
        words=given.words,
        source=given.source or source,
        kind=given.kind,
        model=model,
        value=value,
        unit=unit,
        written=str(given.value),
        holds=given.holds,
        tolerance=given.tolerance,
        against=_row(table, "against", models) if given.against else None,
        protocol=Protocol(**vars(given.protocol)),
        stored=FORMATS[given.stored],
        of=given.of,
        concurrency=given.concurrency,
        prompt_tokens=given.prompt_tokens,
        figures=_figures(table, given),
        key=given.key or given.task or given.metric,
        variant=given.variant,
        missing=given.missing,
        note=given.note,
    )


def _value(table: TomlTable, given: _Claim) -> tuple[float, str]:
    """The number and its unit; 0 for a text, which is compared as it is written."""
    kind, value = given.kind, given.value
    unit = cast(Unit, given.unit) if kind == "gate" else UNITS.get(kind)
    try:
        if unit is not None:
            low = -1e12 if kind == "gate" else -10.0 if kind == "shrinkage" else 0.0
            return in_range(parse_quantity(value, unit), low), unit
        if kind in ("starts", "served id"):
            if not isinstance(value, str) or not value.strip():
                raise ValueError("must be a string with something in it")
            return 0.0, ""
        if kind == "recommended" and isinstance(value, str):
            return 0.0, ""  # a newline is a value too
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if kind != "context":
            return in_range(value, -1e12, 1e12), ""
        if not isinstance(value, int):
            raise ValueError("must be an integer")
        return in_range(value, 1), "tokens"
    except ValueError as error:
        raise table.mistake("value", str(error)) from None


def _row(table: TomlTable, key: str, models: Mapping[str, ModelFacts]) -> ModelFacts:
    name = table.values[key]
    if not isinstance(name, str) or name not in models:
        raise table.mistake(key, f"unknown model{nearest(str(name), models)}")
    return models[name]


def _figures(table: TomlTable, given: _Claim) -> tuple[float, float] | None:
    if "figures" not in table:
        return None
    if given.protocol.items is None:
        raise table.mistake("figures", "needs protocol.items, the number of items that both were asked")
    if len(given.figures) != 2:
        raise table.mistake("figures", 'must be two shares such as ["76.3 %", "78.1 %"]')
    try:
        one, other = (in_range(parse_quantity(figure, "share"), 0, 1) for figure in given.figures)
    except ValueError as error:
        raise table.mistake("figures", str(error)) from None
    return one, other
