"""The reference pages, from the code: ``python docs/generate.py`` writes ``docs/reference/``.

They are committed, since people read them where the code lies; ``tests/docs`` fails when they are behind it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n"

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))


def pages() -> dict[str, str]:
    """Every page by its file name."""
    made: Mapping[str, Callable[[], str]] = {
        "options.md": options,
        "command-line.md": command_line,
        "fixtures.md": fixtures,
        "models.md": models,
        "budgets.md": budgets,
        "metrics.md": metrics,
        "verdict.md": verdict,
        "record.md": record,
        "tasks.md": tasks,
        "hooks.md": hooks,
    }
    return {name: f"{NOTE}\n{make()}" for name, make in made.items()}


# -- pages ------------------------------------------------------------------------------------------


class _Recorder:
    """Takes the place of pytest's parser, and remembers what the plugin adds to it."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}
        self.ini: dict[str, str] = {}

    def getgroup(self, *_: str) -> _Recorder:
        return self

    def addoption(self, *names: str, **about: Any) -> None:
        self.options[", ".join(names)] = about

    def addini(self, name: str, help: str, **_: Any) -> None:  # noqa: A002
        self.ini[name] = help


def options() -> str:
    from pytest_llmperf import model_option, plugin

    recorder = _Recorder()
    plugin.pytest_addoption(recorder)  # type: ignore[arg-type]
    model_option.register(recorder)  # type: ignore[arg-type]
    rows = [
        (
            f"`{name}{_metavar(about)}`",
            _sentence(about["help"]) + (" May be repeated." if _repeats(about) else ""),
        )
        for name, about in recorder.options.items()
    ]
    return (
        "# Command line options\n\n"
        "What they do together, and when to use which: [options and catalogues](../configuration.md).\n\n"
        + _table(("option", "meaning"), sorted(rows))
        + "\n## In pytest's configuration file\n\n"
        + _table(("key", "meaning"), [(f"`{name}`", _sentence(text)) for name, text in recorder.ini.items()])
    )


def _metavar(about: Mapping[str, Any]) -> str:
    if about.get("action") in ("store_true", "store_const"):
        return ""
    value = about.get("metavar") or "|".join(about.get("choices", ())) or "VALUE"
    return f"[={value}]" if about.get("nargs") == "?" else f" {value}"


def _repeats(about: Mapping[str, Any]) -> bool:
    return about.get("action") == "append" and "repeats" not in about["help"]


def command_line() -> str:
    from pytest_llmperf import cli

    parser = cli.parser()
    text = f"# The command pytest-llmperf\n\n{parser.description} `python -m pytest_llmperf` is the same.\n"
    (commands,) = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for name, command in commands.choices.items():
        rows = [(_typed(one), one.help or "") for one in command._actions if one.dest != "help"]
        text += f"\n## {name}\n\n{command.description}\n\n"
        text += _table(("argument", "meaning"), rows) if rows else ""
        text += f"\n{command.epilog}\n" if command.epilog else ""
    return text


def _typed(action: argparse.Action) -> str:
    """An argument as it is typed."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        many = action.nargs in ("*", "+")
        return f"`{value}{' …' if many else ''}`" + (
            ", may be left out" if action.nargs in ("?", "*") else ""
        )
    name = ", ".join(action.option_strings)
    return f"`{name}`" if action.nargs == 0 else f"`{name} {value}`"


def fixtures() -> str:
    from pytest_llmperf import fixtures as room
    from pytest_llmperf.gates.proportion import Share
    from pytest_llmperf.gates.quantile import Series
    from pytest_llmperf.gates.ratio import Ratio
    from pytest_llmperf.gates.scalar import Scalar
    from pytest_llmperf.measure import load_questions, questions

    found = [(one, scope) for one in ast.parse(inspect.getsource(room)).body if (scope := _scope(one))]
    rows = [
        (f"`{one.name}`", scope, _line(ast.get_docstring(one) or ""))
        for one, scope in found
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
    ]
    text = "# Fixtures\n\nBy example: [what a suite may ask for](../fixtures.md).\n\n"
    text += _table(("fixture", "scope", "gives"), rows)
    text += "\n## What they give\n\n"
    for kind in _measured(questions, load_questions):
        text += _fields(f"`{kind.__name__}`", kind)
    text += _load_metrics()
    text += "## Quantities\n\nWhat a test compares; the comparison is the gate.\n"
    for kind in (Share, Series, Ratio, Scalar):
        text += f"\n### `{kind.__name__}`\n\n{_prose(kind)}"
    return text


def _load_metrics() -> str:
    from pytest_llmperf.load.metrics import BUILT_IN
    from pytest_llmperf.measure.load_results import ON_DEVICE, LoadResult, Pair

    rows: list[tuple[str, str, str]] = [
        (f"`.{metric.name}`", metric.unit, metric.description) for metric in BUILT_IN
    ]
    rows += [(f"`.{name}`", unit, meaning) for name, (_, unit, meaning) in ON_DEVICE.items()]
    text = "".join(f"### `{kind.__name__}`\n\n{_prose(kind)}\n" for kind in (LoadResult, Pair))
    return f"{text}{_table(('metric', 'unit', 'meaning'), rows)}\n"


def _measured(*questions: ModuleType) -> list[type]:
    """The values that hold quantities, in the modules of the questions and in those that they take them from."""
    rooms = {module.__name__ for module in questions} | {
        value.__module__
        for module in questions
        for value in vars(module).values()
        if dataclasses.is_dataclass(value)
    }
    quantities = {"Share", "Series", "Ratio", "Scalar", "Paired"}
    return [
        value
        for room in sorted(one for one in rooms if one.startswith("pytest_llmperf.measure."))
        for value in vars(sys.modules[room]).values()
        if isinstance(value, type)
        and value.__module__ == room
        and dataclasses.is_dataclass(value)
        and quantities & {str(one.type) for one in dataclasses.fields(value)}
    ]


def _scope(node: ast.stmt) -> str | None:
    """Of a fixture; None if ``node`` is none. Read from the source: pytest shows fixtures to no one else."""
    for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
        if ast.unparse(decorator).startswith("pytest.fixture"):
            words = decorator.keywords if isinstance(decorator, ast.Call) else []
            return next((ast.literal_eval(one.value) for one in words if one.arg == "scope"), "function")
    return None


def _sizes() -> str:
    from pytest_llmperf.config import sizes

    rows = [
        (
            f"`{field.name}`",
            str(getattr(sizes.EMBEDDED, field.name)),
            str(getattr(sizes.GPU, field.name)),
            str(sizes.LEAST[field.name]),
            _attribute_docs(sizes.Sizes)[field.name],
        )
        for field in dataclasses.fields(sizes.Sizes)
    ]
    return _table(("key", "default", "with a GPU", "at least", "meaning"), rows)


def models() -> str:
    from pytest_llmperf.config import catalog as reading
    from pytest_llmperf.config import models as catalog

    text = f"# models.toml\n\n{_examples(catalog)}\n"
    text += "## A profile\n\n`[profile.NAME]`\n\n"
    text += _keys(
        reading.PROFILE_KEYS,
        catalog.Profile,
        {
            "model": "The rows: `[profile.NAME.model.ROW]`.",
            "sizes": "How much is measured: `[profile.NAME.sizes]`, see [below](#sizes).",
        },
    )
    text += (
        "\n## sizes\n\n`[profile.NAME.sizes]`, all whole numbers. The defaults are those of a profile with "
        f"`needs_cuda = false`, and with it.\n\n{_sizes()}"
    )
    text += "\n## A row\n\n`[profile.NAME.model.ROW]`\n\n"
    text += _keys(
        reading.ROW_KEYS,
        catalog.Model,
        {
            "extends": "A row of the same profile. Every key that is not given here is that row's; "
            "tables merge key by key.",
            "add_arguments": "Come after the arguments of the row that it extends.",
            "damage": "`{ seed = 1, amount = 0.2 }`, see [below](#damage).",
            "sampling": "See [below](#sampling).",
            "rules": "See [below](#rules).",
        },
    )
    for title, kind in (
        ("sampling", catalog.Sampling),
        ("rules", catalog.PromptRules),
        ("damage", catalog.Damage),
    ):
        text += f"\n## {title}\n\n`[profile.NAME.model.ROW.{title}]`. {_doc(kind)}\n\n"
        text += _keys([one.name for one in dataclasses.fields(kind)], kind, {})
    return text


def budgets() -> str:
    from pytest_llmperf.config import budgets as room
    from pytest_llmperf.config.budget_keys import KNOWN

    text = f"# budgets.toml\n\n{_examples(room)}\n"
    text += f"Device classes: {', '.join(room.DEVICES)}, and `any`.\n"
    for suite, keys in KNOWN.items():
        rows = [
            (f"`{key}`", one.says, one.sense, one.unit, f"by {one.by}" if one.by else "", one.damage)
            for key, one in keys.items()
        ]
        text += f"\n## {suite}\n\n`[PROFILE.DEVICE.{suite}]`\n\n"
        text += _table(("key", "says", "must be", "unit", "index", "`catches` in"), rows)
    return text


def metrics() -> str:
    from pytest_llmperf.load import metrics as room

    rows = [
        (
            f"`{metric.name}`",
            metric.title,
            metric.description,
            metric.unit,
            metric.better,
            "round" if metric.from_trace is None else "token" if metric.many_per_request else "request",
            f"`{metric.column}`" if metric.from_trace else "",
        )
        for metric in room.BUILT_IN
    ]
    text = f"# Metrics of loads\n\n{_prose(room)}\n"
    return text + _table(
        ("name", "title", "what", "unit", "better", "one value a", "column of the traces"), rows
    )


def verdict() -> str:
    from pytest_llmperf.gates import verdict as room

    text = "# The verdict\n\nHow it is reached: [statistics](../statistics.md).\n\n## Status\n\n"
    said = _attribute_docs(room.Status)
    rows = [
        (f"`{status.value}`", said.get(status.name, _PASS_FAIL.get(status.name, "")))
        for status in room.Status
    ]
    text += f"{_doc(room.Status)}\n\n" + _table(("status", "means"), rows)
    text += f"\n## Verdict\n\n{_doc(room.Verdict)}\n\n"
    return text + _keys([one.name for one in dataclasses.fields(room.Verdict)], room.Verdict, {})


_PASS_FAIL = {"PASS": "The data show that the bound is kept.", "FAIL": "The data show that it is not."}


def record() -> str:
    from pytest_llmperf.record import tables
    from pytest_llmperf.record.model import Record

    text = (
        "# The record\n\n`--llmperf-record NAME.json` writes it. Numbers are finite. "
        "What is not known is null or absent. "
        "Hooks and later versions may add keys; the keys named here keep their meaning.\n\n"
        "Types are those of JSON; `pytest_llmperf.record.model.Record.model_json_schema()` is the JSON Schema.\n\n"
    )
    schema = Record.model_json_schema()
    text += _table(("key", "type", "meaning"), _schema_rows(schema, schema["$defs"]))
    for table in (tables.ANSWERS, tables.TRACES, tables.CASES):
        text += f"\n## NAME.{table.name}.parquet\n\n"
        text += _table(
            ("column", "type"), [(f"`{name}`", f"`{kind}`") for name, kind in table.columns.items()]
        )
    return text


def _schema_rows(
    about: Mapping[str, Any], parts: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """A row for every named value; nested ones by their path: ``servers[].row``."""
    rows = []
    for name, value in about.get("properties", {}).items():
        path = f"{prefix}{name}"
        rows.append((f"`{path}`", _json_type(value, parts), value.get("description", "")))
        for kind in _kinds(value):
            rows += _schema_rows(_part(kind, parts), parts, f"{path}.")
            for inner in _kinds(kind.get("items", {})):
                rows += _schema_rows(_part(inner, parts), parts, f"{path}[].")
    return rows


def _kinds(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a value."""
    alternatives: list[Mapping[str, Any]] = about.get("anyOf", [about])
    return alternatives


def _part(about: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference to a part of the schema stands for."""
    part: Mapping[str, Any] = parts[about["$ref"].rpartition("/")[2]] if "$ref" in about else about
    return part


def _json_type(about: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    return " or ".join(_type_of(_part(kind, parts), parts) for kind in _kinds(about))


def _type_of(about: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "enum" in about or "const" in about:
        return ", ".join(f"`{json.dumps(one)}`" for one in about.get("enum", [about.get("const")]))
    kind = str(about.get("type", "any"))
    if "items" in about:
        return f"{kind} of {_json_type(about['items'], parts)}"
    return f"{kind} of two" if "prefixItems" in about else kind


def tasks() -> str:
    from pytest_llmperf.tasks import BUILT_IN, task
    from pytest_llmperf.tasks.grading import Outcome

    rows = [
        (f"`{one.name}`", one.source.describe(), ", ".join(one.protocols), str(one.max_tokens))
        for one in BUILT_IN
    ]
    text = "# Tasks\n\nOne of your own: [write a task, and a grader](../how-to/own-task.md).\n\n"
    text += _table(("task", "source", "asked by", "tokens of an answer"), rows)
    text += _pinned_data()
    said = _attribute_docs(Outcome)
    text += "\n## Outcomes of an item\n\n"
    text += _table(("outcome", "means"), [(f"`{one.value}`", said.get(one.name, "")) for one in Outcome])
    for kind in (task.Task, task.Item, task.Shot):
        text += f"\n## {kind.__name__}\n\n{_prose(kind)}\n"
        text += _keys([one.name for one in dataclasses.fields(kind)], kind, {})
    return text


def _pinned_data() -> str:
    """Files and revisions of what is not made here, and how to check them."""
    from pytest_llmperf.tasks import BUILT_IN
    from pytest_llmperf.tasks.articles import BUILT_IN_ARTICLES
    from pytest_llmperf.tasks.source import DataFile
    from pytest_llmperf.tasks.texts import BUILT_IN_TEXTS

    rows = []
    named: list[tuple[str, object]] = [(one.name, one.source) for one in BUILT_IN]
    named += [(one.name, one.source) for one in BUILT_IN_TEXTS]
    named += [(one.name, one.source) for one in BUILT_IN_ARTICLES]
    for name, source in named:
        if isinstance(source, DataFile) and source.hub is not None:
            checksum = f"`{source.sha256}`" if source.sha256 else "not pinned"
            hub = source.hub
            pinned = (
                f"[{hub.repository}](https://huggingface.co/datasets/{hub.repository}/tree/{hub.revision})"
            )
            rows.append((f"`{name}`", f"`{source.path}`", checksum, pinned, f"`{hub.revision}`"))
    return (
        "\n## Where the data come from\n\n"
        "Without `--llmperf-data` a data set is loaded from the hub at the commit below. With `--llmperf-data DIR`\n"
        "its file below `DIR` is read, and refused if it has another SHA-256 than the one that is pinned; the\n"
        "message has the command that fetches it. To check a file by hand: `sha256sum DIR/medqa/test.jsonl`. To\n"
        "check that file and hub hold the same items, compare `answers[].items_sha256` of two records\n"
        "(`perplexity[].items_sha256` of texts, `long_answers[].items_sha256` of articles), which is also what tells\n"
        "two files apart where nothing is "
        "pinned.\n\n" + _table(("data", "file below DIR", "SHA-256", "on the hub", "commit"), rows)
    )


def hooks() -> str:
    from pytest_llmperf import hookspecs

    text = f"# Hooks\n\n{_doc(hookspecs)}\n"
    for name, value in inspect.getmembers(hookspecs, inspect.isfunction):
        signature = ", ".join(inspect.signature(value).parameters)
        text += f"\n## {name}\n\n`{name}({signature})`\n\n{_prose(value)}"
    return text


# -- pieces -----------------------------------------------------------------------------------------


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    # A column without a word in it is left out.
    lines = [list(head), *(list(row) for row in rows)]
    told = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    lines = [[line[i] for i in told] for line in lines]
    lines.insert(1, ["---"] * len(told))
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _keys(names: Iterable[str], kind: type, said: Mapping[str, str]) -> str:
    """One row a key: its type, what it is without being given, and what is said of the field behind it."""
    docs = _attribute_docs(kind)
    fields = {one.name: one for one in dataclasses.fields(kind)}
    rows = []
    for name in names:
        field = _field_of(name, fields)
        shown = ("", "") if field is None else (_type(kind, field), _default(field))
        about = said.get(name) or docs.get("" if field is None else field.name, "")
        rows.append((f"`{name}`", *shown, about))
    return _table(("key", "type", "default", "meaning"), rows)


def _field_of(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> dataclasses.Field[Any] | None:
    """The field of a key; in the file a unit stands in the value (``"10 min"``), in code in the name."""
    return next((fields[one] for one in (name, f"{name}_s", f"{name}_bytes") if one in fields), None)


def _type(kind: type, field: dataclasses.Field[Any]) -> str:
    if field.name.endswith("_s"):
        return 'time, as in `"10 min"`'
    if field.name.endswith("_bytes"):
        return 'size, as in `"4 GiB"`'
    written = str(field.type)
    written = written if (bare := written.removesuffix(" | None")) not in _TYPES else bare
    if written not in _TYPES and kind.__module__.startswith("pytest_llmperf.config."):
        hint = typing.get_type_hints(kind)[field.name]  # without the validators
        if typing.get_origin(hint) is typing.Literal:
            return " or ".join(f"`{value}`" for value in typing.get_args(hint))
        written = hint.__name__ if type(hint) is type else str(hint)
        written = re.sub(r"(typing\.Optional\[(.*)\])?(collections\.abc\.)?", r"\2", written, count=1)
    return _TYPES.get(written, f"`{written}`")


# What a person writes into a file, instead of what Python makes of it.
_TYPES = {
    "str": "text",
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "tuple[str, ...]": "list of texts",
    "Mapping[str, str]": "table of texts",
    "tuple[float, float]": "`[lowest, highest]`",
    "Sampling": "table",
    "PromptRules": "table",
    "Damage | None": "table",
}


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        if field.default_factory is dataclasses.MISSING:
            return ""
        return "none" if field.default_factory is dict else "its own defaults"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and field.name.endswith("_s"):
        return f"`{value:g} s`"
    if isinstance(value, tuple):
        return f"`{list(value)!r}`"
    if isinstance(value, str):
        return f"`{json.dumps(value, ensure_ascii=False)}`"
    return f"`{value.__name__}`" if callable(value) else f"`{value!r}`"


def _fields(title: str, kind: type) -> str:
    docs = _attribute_docs(kind)
    rows = [(f"`.{one.name}`", f"`{one.type}`", docs.get(one.name, "")) for one in dataclasses.fields(kind)]
    said = f"{_doc(kind)}\n\n" if _doc(kind) else ""
    return f"### {title}\n\n{said}{_table(('attribute', 'kind', 'meaning'), rows)}\n"


def _attribute_docs(kind: type) -> dict[str, str]:
    """The string below each attribute of a class, which Python itself forgets."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for one, after in pairwise(tree.body):
        match one, after:
            case (
                ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]),
                ast.Expr(value=ast.Constant(str(text))),
            ):
                docs[name] = _markdown(inspect.cleandoc(text))
    return docs


def _examples(module: object) -> str:
    """A module's docstring whose indented parts are TOML."""
    return _prose(module, language="toml")


def _doc(thing: object) -> str:
    """The whole docstring in one line; nothing where a dataclass has none but what Python makes up."""
    text = inspect.getdoc(thing) or ""
    return "" if text.startswith(f"{getattr(thing, '__name__', '')}(") else _line(text)


def _line(docstring: str) -> str:
    return " ".join(_markdown(docstring).split())


def _prose(thing: object, language: str = "python") -> str:
    """The docstring as Markdown: what follows ``::`` becomes a block of code."""
    text = ""
    for i, part in enumerate(re.split(r"::\n\n((?:(?: {4}.*)?\n)+)", (inspect.getdoc(thing) or "") + "\n")):
        is_block = i % 2
        block = f":\n\n```{language}\n{inspect.cleandoc(part)}\n```\n\n"
        text += block if is_block else _markdown(part.strip("\n"))
    return text.strip() + "\n"


def _markdown(text: str) -> str:
    """Our docstrings' few marks of reStructuredText."""
    text = re.sub(r":(?:class|func|data|meth):`~?(?:[\w.]*\.)?([\w]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, text in pages().items():
        (OUT / name).write_text(text, encoding="utf-8")
