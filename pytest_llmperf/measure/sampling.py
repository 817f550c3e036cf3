"""The sampling parameters in force on each side: those in the request, and the server's defaults for the others.

A server may take ``repetition_penalty``, ``top_k`` or ``min_p`` from the ``generation_config.json`` of its weights.
Two models whose files differ are then not sampled alike.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.json_values import Json, JsonObject

PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "max_tokens",
    "seed",
    "stop",
)
REQUEST, ENGINE, UNKNOWN = "request", "engine default", "unknown"
WEIGHTS = "generation_config.json of the weights"
_OF_A_FILE = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_NOT_COMPARED = ("seed", "max_tokens", "stop")
"""Limits and ends belong to a row's way of asking (``max_tokens``, a protocol's stops); seeds count up."""


@dataclass(frozen=True)
class Setting:
    """The value of one parameter and its origin; ``value`` has no meaning if the origin is ``unknown``."""

    value: Any
    origin: str

    def __str__(self) -> str:
        if self.origin == UNKNOWN:
            return "unknown"
        value = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        return f"{value} ({self.origin})"


def filled_in(model: Model, weights: Path | None) -> dict[str, Setting]:
    """The values that the row's server uses for parameters that a request leaves out.

    ``weights`` is the directory of its weights, None if it is not on this machine. All values are unknown if the engine
    does not tell its defaults.
    """
    defaults = engine_named(model.engine).sampling_defaults(model)
    if defaults is None:
        return dict.fromkeys(PARAMETERS, Setting(None, UNKNOWN))
    settings = {name: Setting(defaults.values[name], ENGINE) for name in PARAMETERS}
    if (source := defaults.config_from) is not None:
        directory = weights if source == "auto" else Path(source)
        file = None if directory is None else _file_of(directory)
        if file is None:
            settings |= dict.fromkeys(_OF_A_FILE, Setting(None, UNKNOWN))
        else:
            settings |= _settings_in(file, WEIGHTS if source == "auto" else f"--generation-config {source}")
    return settings | _settings_in(defaults.overrides, "--override-generation-config")


def in_force(body: JsonObject, default: Mapping[str, Setting]) -> dict[str, Setting]:
    """Every parameter of a request with this ``body``, to a server that fills in ``default``."""
    sent = dict(body)
    if "max_completion_tokens" in sent:
        sent["max_tokens"] = sent["max_completion_tokens"]
    return {
        name: Setting(sent[name], REQUEST) if sent.get(name) is not None else default[name]
        for name in PARAMETERS
    }


def differences(
    first: Mapping[str, Setting], second: Mapping[str, Setting]
) -> dict[str, tuple[Setting, Setting]]:
    """Parameters whose values differ, or are unknown on one side."""
    return {
        name: (first[name], second[name])
        for name in PARAMETERS
        if name not in _NOT_COMPARED
        and (UNKNOWN in (first[name].origin, second[name].origin) or first[name].value != second[name].value)
    }


class SamplingBook:
    """The sampling of all requests, by row and what was asked; reports once if two rows are not sampled alike."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._settings: dict[tuple[str, str], dict[str, Setting]] = {}
        self._default: dict[str, dict[str, Setting]] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def note(self, model: Model, weights: Callable[[], Path | None], what: str, body: JsonObject) -> None:
        """``what`` was asked of a row with requests like ``body``; the first one counts."""
        with self._lock:
            if (what, model.name) in self._settings:
                return
            if model.name not in self._default:
                self._default[model.name] = filled_in(model, weights())
            mine = in_force(body, self._default[model.name])
            others = {row: known for (asked, row), known in self._settings.items() if asked == what}
            self._settings[what, model.name] = mine
            for row, theirs in others.items():
                self._compare(row, theirs, model.name, mine)

    def _compare(
        self, row: str, theirs: Mapping[str, Setting], other: str, mine: Mapping[str, Setting]
    ) -> None:
        found = differences(theirs, mine)
        known = {
            name: pair for name, pair in found.items() if UNKNOWN not in (pair[0].origin, pair[1].origin)
        }
        if known:
            said = ", ".join(f"{name} {a} against {b}" for name, (a, b) in known.items())
            self._say(f"{row} and {other} are not sampled alike: {said}")
        for name, settings in ((row, theirs), (other, mine)):
            unknown = [parameter for parameter in found if settings[parameter].origin == UNKNOWN]
            if unknown:
                self._say(
                    f"{name}: its server's default for {', '.join(unknown)} is not known, so {row} and {other} may "
                    "not be sampled alike; start vLLM with --generation-config vllm for neutral defaults"
                )

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def facts(self) -> list[dict[str, Json]]:
        """For the record: by row and what was asked, each parameter with its origin."""
        return [
            {
                "row": row,
                "what": what,
                "parameters": {
                    name: {"value": setting.value, "from": setting.origin}
                    for name, setting in settings.items()
                },
            }
            for (what, row), settings in self._settings.items()
        ]


def _settings_in(table: JsonObject, origin: str) -> dict[str, Setting]:
    """The parameters that a generation config sets; what it leaves out, or null, sets nothing."""
    settings = {name: Setting(table[name], origin) for name in _OF_A_FILE if table.get(name) is not None}
    if table.get("max_new_tokens") is not None:
        settings["max_tokens"] = Setting(table["max_new_tokens"], origin)
    return settings


def _file_of(directory: Path) -> dict[str, Json] | None:
    """``generation_config.json`` there; empty where there is none, None where it cannot be read."""
    try:
        table = json.loads((directory / "generation_config.json").read_text("utf-8"))
    except FileNotFoundError:
        return {} if directory.is_dir() else None
    except (OSError, ValueError):
        return None
    return table if isinstance(table, dict) else None
