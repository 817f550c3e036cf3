"""Which tests ask about a model, from what pytest collected: by fixture, by name at run time, by a module's source.

Only fixtures of this plugin count: a project may have a ``candidate``, ``prompts`` or ``load`` of its own.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

MODELS = frozenset({"candidate", "baseline", "prompts"})
"""Fixtures that are a model, or are about one."""
GATED = frozenset(
    {
        "accuracy",
        "answers",
        "consistency",
        "energy",
        "fidelity",
        "flips",
        "load",
        "memory",
        "macro_f1",
        "perplexity",
        "recall",
        "score",
        "structured",
        "summaries",
        "tool_calls",
    }
)
"""Fixtures that measure what only a gate judges: a test that has one must assert a comparison."""
LOOSE = frozenset({"startup", "stream", "openai_client"})
"""Fixtures whose answers a test may check by plain assertions as well."""
ASKING = MODELS | GATED | LOOSE
_OURS = "pytest_llmperf.fixtures"
_ASSERTING = (
    "assert",
    "check",
    "expect",
    "fail",
    "raises",
    "require",
    "should",
    "validate",
    "verify",
    "warns",
)
"""Words in the name of a function that asserts something on behalf of a test."""


@dataclass(frozen=True)
class Asks:
    """The way a test asks about a model. ``needs``: the fixture that obliges it to assert a gate; empty without one."""

    needs: str
    asserts: bool


def asks(item: pytest.Item) -> Asks | None:
    """Return how ``item`` asks about a model, as far as that is known before it runs; None if it does not."""
    names = set(getattr(item, "fixturenames", ()))
    fixtures = [name for name in ASKING & names if is_ours(item, name)]
    fixtures += [name for name in ASKING & _named_at_run_time(item) if name not in names]
    if not fixtures:
        return None
    return Asks(next((name for name in sorted(fixtures) if name in GATED), ""), _asserts(item))


def asked_at_run_time(item: pytest.Item) -> bool:
    """True if ``item``, which is running, has got one of our fixtures by ``request.getfixturevalue``."""
    request = getattr(item, "_request", None)
    got: Mapping[str, Any] = getattr(request, "_fixture_defs", None) or {}
    return any(
        getattr(getattr(got[name], "func", None), "__module__", "") == _OURS for name in ASKING & set(got)
    )


def is_ours(item: pytest.Item, name: str) -> bool:
    """True if the fixture that ``item`` gets under ``name`` is this plugin's, or is built on it."""
    info = getattr(item, "_fixtureinfo", None)
    known: Mapping[str, Sequence[Any]] = getattr(info, "name2fixturedefs", None) or {}
    return _reaches(known.get(name, ()), name)


def candidate_of(item: pytest.Item) -> str:
    """The row for which ``item`` is repeated: the parameter of our ``candidate``; empty without one."""
    name = getattr(getattr(item, "callspec", None), "params", {}).get("candidate")
    return name if isinstance(name, str) and is_ours(item, "candidate") else ""


def wants_candidates(metafunc: pytest.Metafunc) -> bool:
    """True if a test is to be repeated for each candidate: it gets ours, and has not said which itself."""
    known: Mapping[str, Sequence[Any]] = getattr(metafunc, "_arg2fixturedefs", None) or {}
    if not _reaches(known.get("candidate", ()), "candidate"):
        return False
    marks = metafunc.definition.iter_markers("parametrize")
    if any("candidate" in _names(mark.kwargs.get("argnames", next(iter(mark.args), ""))) for mark in marks):
        return False
    calls = getattr(metafunc, "_calls", ())
    return not any("candidate" in {**call.params, **getattr(call, "funcargs", {})} for call in calls)


def repeat_for_each(metafunc: pytest.Metafunc, names: Sequence[str]) -> None:
    """Repeat a test for the rows ``names``, until a hook that comes later gives it candidates of its own.

    pytest's marks come later as well, so that the row is the first word of a test's id, as in ``[distill-8]``.
    """
    before = list(getattr(metafunc, "_calls", ()))
    parametrize = metafunc.parametrize
    since: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def later(argnames: str | Sequence[str], argvalues: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        # An iterator must last for a second reading.
        given = (argnames, list(argvalues), *args)
        if "candidate" in _names(argnames):
            metafunc.parametrize = parametrize  # type: ignore[method-assign]
            metafunc._calls = before
            for earlier, named in since:
                parametrize(*earlier, **named)
        else:
            since.append((given, kwargs))
        parametrize(*given, **kwargs)

    parametrize("candidate", names, indirect=True, scope="session")
    metafunc.parametrize = later  # type: ignore[method-assign]


def _names(argnames: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else list(argnames)


def _reaches(definitions: Sequence[Any], name: str) -> bool:
    """True if the nearest of these fixtures is ours, or asks for the one of its own name that it stands before."""
    for definition in reversed(definitions):
        if getattr(definition.func, "__module__", "") == _OURS:
            return True
        if name not in definition.argnames:
            return False
    return False


def _named_at_run_time(item: pytest.Item) -> set[str]:
    """Names that a test may give to ``request.getfixturevalue``, from its code."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    if code is None:
        return set()
    every = list(_codes(code))
    if not any("getfixturevalue" in nested.co_names for nested in every):
        return set()
    return {name for nested in every for name in nested.co_consts if isinstance(name, str)}


def _asserts(item: pytest.Item) -> bool:
    """True if the test's code has an assertion, or calls what is named like one; True where there is no code to see."""
    function = getattr(item, "function", None)
    # hypothesis puts a function of its own in the place of the test.
    function = getattr(getattr(function, "hypothesis", None), "inner_test", None) or function
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    if code is None:
        return True
    names = getattr(function, "__globals__", {})
    return any(_has_assertion(nested, names) for nested in _codes(code))


def _has_assertion(code: CodeType, names: Mapping[str, Any]) -> bool:
    if _raises_assertion(code):
        return True
    called = set(code.co_names)
    if any(name.lower().lstrip("_").startswith(_ASSERTING) for name in called):
        return True
    # A helper of the same project that asserts: one step, as a reader would follow it.
    helpers = (getattr(names.get(name), "__code__", None) for name in called)
    return any(_raises_assertion(inner) for helper in helpers if helper for inner in _codes(helper))


def _raises_assertion(code: CodeType) -> bool:
    # pytest writes an assert anew, and then it raises AssertionError by name.
    return "AssertionError" in code.co_names or any(
        instruction in _bytecode(code) for instruction in ("LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT")
    )


def _bytecode(code: CodeType) -> set[str]:
    import dis

    return {instruction.opname for instruction in dis.get_instructions(code)}


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of everything defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


# Modules that were skipped, or failed, while they were collected


def asks_in_source(collector: pytest.Collector) -> bool:
    """True if the source of what could not be collected asks for a model, directly or by a fixture of a conftest.py."""
    path = getattr(collector, "path", None)
    if not isinstance(path, Path):
        return False
    files = sorted(path.rglob("*.py")) if path.is_dir() or path.name == "__init__.py" else [path]
    if path.name == "__init__.py":
        files = sorted(path.parent.rglob("*.py"))
    names = _known_to_ask(collector)
    return any(_asks_for(file, names) for file in files if file.suffix == ".py")


def _known_to_ask(collector: pytest.Collector) -> set[str]:
    """``candidate``, ``baseline`` and every fixture known so far that asks for one of them."""
    manager = getattr(collector.session, "_fixturemanager", None)
    known: Mapping[str, Sequence[Any]] = getattr(manager, "_arg2fixturedefs", None) or {}
    # Names like `load` and `prompts` are common; whoever uses ours has a model in the same file.
    asking = {name for name in ("candidate", "baseline") if not known or _reaches(known.get(name, ()), name)}
    while True:
        more = {
            name
            for name, definitions in known.items()
            if name not in ASKING
            for definition in definitions
            if asking & set(definition.argnames)
        }
        if more <= asking:
            return asking
        asking |= more


def _asks_for(file: Path, names: set[str]) -> bool:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return False
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    own = {
        function.name
        for function in functions
        if function.name in names and function.name not in {a.arg for a in _arguments(function)}
    }
    wanted = names - own
    if any(argument.arg in wanted for function in functions for argument in _arguments(function)):
        return True
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        isinstance(given, ast.Constant) and given.value in wanted
        for call in calls
        if getattr(call.func, "attr", "") in ("usefixtures", "getfixturevalue")
        for given in call.args
    )


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
