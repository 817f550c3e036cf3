"""Make the run of a session from the command line, the catalogue and the device of this machine."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.config.options import anchor, anchored, interpreter
from pytest_llmperf.config.run_config import Options, read_options, resolve
from pytest_llmperf.errors import GpuUnreadable, UsageError
from pytest_llmperf.measure.impossible import refuse_impossible_budgets
from pytest_llmperf.report.encoding import write_all
from pytest_llmperf.runs import mutation_run
from pytest_llmperf.runs.planned_run import PlannedRun
from pytest_llmperf.runs.session import Run
from pytest_llmperf.serving.placement import ORDER, VISIBLE, first_device


def configure(config: pytest.Config) -> Run:
    """Resolve the command line; ``pytest.UsageError`` (exit code 4, one line) if it does not fit."""
    # What pytest's writer writes to; its capture replaces `sys.stdout` only while tests run.
    write_all(sys.__stdout__)
    try:
        if config.getoption("dist", "no") == "each":
            raise UsageError(
                "--dist=each runs every test in every worker, so that no test has one verdict: use --dist=loadscope"
            )
        anchor(config)
        options = _options(config)
        if config.getoption("llmperf_mutation_test") is not None:
            return mutation_run.configure(config, options)
        settings = resolve(options, *_device_here(os.environ))
        first = settings.candidates[0]
        if chosen := _variables_of_devices(first if first.host is None else settings.hosts[first.host]):
            # Budgets and limits are those of the device that is judged.
            settings = resolve(options, *_device_here({**os.environ, **chosen}))
        refuse_impossible_budgets(settings)
        if (record := config.getoption("llmperf_plan")) is not None:
            return PlannedRun(config, settings, record)
        run = Run(config, settings)
        try:
            run.begin()
        except UsageError:
            run.close()
            raise
        return run
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        # A directory that may not be read or written, a name that is too long, no room, no temporary directory.
        where = f"{error.filename}: " if error.filename else ""
        raise pytest.UsageError(f"llmperf: {where}{error.strerror or error}") from error


def _variables_of_devices(row: Model) -> dict[str, str]:
    """The variables in a row's own environment that choose its GPUs; empty for a row that uses none."""
    return {name: row.environment[name] for name in (VISIBLE, ORDER) if row.gpus and name in row.environment}


def _device_here(environment: Mapping[str, str]) -> tuple[str | None, str, GpuUnreadable | None]:
    """Class and name of the first GPU that ``environment`` leaves visible, None and "CPU" without one, and why it is
    not known whether there is one."""
    try:
        return *first_device(environment), None
    except GpuUnreadable as error:
        return None, "CPU", error


def _options(config: pytest.Config) -> Options:
    models = config.getoption("llmperf_models") or config.getini("llmperf_models")
    profile = config.getoption("llmperf_profile")
    if profile and profile.endswith(".toml"):
        models, profile = profile, None
    if not models:
        raise UsageError(
            "no catalogue of models: give --llmperf-models PATH, or set llmperf_models in pytest's configuration"
        )
    path = Path(anchored("llmperf_models", models, config.rootpath))
    names = [field.name for field in dataclasses.fields(Options) if field.name != "engine_python"]
    given = {name: value for name in names if (value := config.getoption(f"llmperf_{name}")) is not None}
    given |= {
        "models": path,
        "profile": profile,
        "budgets": given.get("budgets") or path.with_name("budgets.toml"),
    }
    if python := os.environ.get("LLMPERF_ENGINE_PYTHON"):
        given["engine_python"] = interpreter("LLMPERF_ENGINE_PYTHON", python, config.invocation_params.dir)
    return read_options(given)
