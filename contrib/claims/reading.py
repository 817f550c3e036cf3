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
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from contrib.claims.claim import Claim, Holds, Kind, ModelFacts, Protocol, Sheet
from pytest_llmperf.config.toml_errors import Table, nearest, read_toml
from pytest_llmperf.errors import DataError
from pytest_llmperf.load.roofline import FORMATS, architecture_of
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.units import Unit

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
KINDS: tuple[str, ...] = get_args(Kind)
_RATIOS = ("speed", "first token", "cold start", "peak memory", "accuracy")
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


def read_claims(path: Path) -> Sheet:
    """The sheet at ``path``. Raises :class:`~pytest_llmperf.errors.CatalogError` for every mistake in it."""
    # What it says goes on to terminals, JUnit files and pages, each by its own way.
    given = read_toml(path)
    root = replace(given, values=redact_values(given.values))
    root.only(("title", "source", "profile", "model", "claim"))
    root.must_have("title", "source", "profile", "model", "claim")
    models = {name: _model(name, table) for name, table in root.table("model").tables().items()}
    claims = root.table("claim").tables()
    if not claims:
        raise root.mistake("claim", "holds no claim")
    source = root.text("source", "")
    return Sheet(
        root.text("title", ""),
        root.text("profile", ""),
        tuple(_claim(name, table, models, source) for name, table in claims.items()),
    )


def _model(name: str, table: Table) -> ModelFacts:
    table.only(("weights", "config", "recommended"))
    table.must_have("weights", "config")
    config = table.table("config")
    try:
        architecture = architecture_of(config.values)
    except DataError as error:
        raise table.mistake("config", str(error)) from None
    recommended = table.table("recommended")
    if recommended.values:
        recommended.must_have("source")
    for key, value in recommended.values.items():
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise recommended.mistake(key, "must be a text or a number")
    quantisation = config.table("quantization_config")
    return ModelFacts(
        name,
        table.text("weights", ""),
        architecture,
        quantisation.text("quant_method", None),
        {key: value for key, value in recommended.values.items() if key != "source"},
        recommended.text("source", ""),
    )


def _claim(name: str, table: Table, models: Mapping[str, ModelFacts], source: str) -> Claim:
    table.must_have("words", "kind", "model", "value")
    kind = cast(Kind, table.choice("kind", KINDS, ""))
    table.only((*_ALL, *_NEEDS.get(kind, ()), *_MAY.get(kind, ())))
    table.must_have(*_NEEDS.get(kind, ()))
    if kind in _MEASURED and table.values.get("holds", "about") == "about":
        table.must_have("tolerance")  # nothing that is measured is exactly what was published
    if kind == "ratio" and ("task" in table) != (table.values["of"] == "accuracy"):
        raise table.mistake("task", "belongs to a ratio of accuracies, and to no other")
    value, unit = _value(table, kind)
    model = _row(table, "model", models)
    return Claim(
        name=name,
        words=table.text("words", ""),
        source=table.text("source", source),
        kind=kind,
        model=model,
        value=value,
        unit=unit,
        written=str(table.values["value"]),
        holds=cast(Holds, table.choice("holds", get_args(Holds), "about")),
        tolerance=table.quantity("tolerance", "share", 0.0, high=1.0),
        against=_row(table, "against", models) if "against" in table else None,
        protocol=_protocol(table.table("protocol")),
        stored=FORMATS[table.choice("stored", FORMATS, "plain")],
        of=cast(Kind, table.choice("of", _RATIOS, None)),
        concurrency=table.integer("concurrency", 1, low=1),
        prompt_tokens=table.integer("prompt_tokens", 1, low=1),
        figures=_figures(table),
        key=_key(table, model),
        variant=table.text("variant", "as promised"),
        missing=table.text("missing", ""),
        note=table.text("note", ""),
    )


def _value(table: Table, kind: str) -> tuple[float, str]:
    """The number and its unit; 0 for a text, which is compared as it is written."""
    if kind in UNITS:
        low = 0.0 if kind != "shrinkage" else -10.0
        return table.quantity("value", UNITS[kind], 0.0, low=low), UNITS[kind]
    if kind == "gate":
        unit = cast(Unit, table.choice("unit", ("s", "bytes", "tok/s", "share", "points", "ratio"), "share"))
        return table.quantity("value", unit, 0.0, low=-1e12), unit
    if kind == "context":
        return table.integer("value", 0, low=1), "tokens"
    if kind == "recommended" and isinstance(table.values["value"], str):
        return 0.0, ""  # a newline is a value too
    if kind in ("starts", "served id"):
        table.text("value", "")
        return 0.0, ""
    return table.number("value", 0.0, low=-1e12, high=1e12), ""


def _row(table: Table, key: str, models: Mapping[str, ModelFacts]) -> ModelFacts:
    name = table.text(key, "")
    if name not in models:
        raise table.mistake(key, f"unknown model{nearest(name, models)}")
    return models[name]


def _protocol(table: Table) -> Protocol:
    table.only(("device", "items", "samples", "prompts", "sampling"))
    return Protocol(
        device=table.text("device", None),
        items=table.integer("items", None, low=1),
        samples=table.integer("samples", 1, low=1),
        prompts=table.text("prompts", None),
        sampling=table.text("sampling", None),
    )


def _figures(table: Table) -> tuple[float, float] | None:
    if "figures" not in table:
        return None
    if "items" not in table.table("protocol"):
        raise table.mistake("figures", "needs protocol.items, the number of items that both were asked")
    values = table.texts("figures", ())
    if len(values) != 2:
        raise table.mistake("figures", 'must be two shares such as ["76.3 %", "78.1 %"]')
    one, other = (
        Table(table.file, table.section, {"figures": v}).quantity("figures", "share", 0.0, high=1.0)
        for v in values
    )
    return one, other


def _key(table: Table, model: ModelFacts) -> str:
    for key in ("key", "task", "metric"):
        if key in table:
            name = table.text(key, "")
            if key == "key" and name not in model.recommended:
                raise table.mistake(
                    key, f"{model.name} has no such recommendation{nearest(name, model.recommended)}"
                )
            return name
    return ""
