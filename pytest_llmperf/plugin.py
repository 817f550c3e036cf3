"""pytest's hooks, each a few lines: what they do is in the rooms below.

Light on purpose: an installed but idle plugin must not cost a project more than a few milliseconds, so everything
of weight is imported inside the hook that needs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf import fixtures
from pytest_llmperf.config.options import register
from pytest_llmperf.hookspecs import LEFT_OUT, MARKERS
from pytest_llmperf.runs.keys import RUN, UNSUPPORTED

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter  # only for the checker; pytest exports no public name

    from pytest_llmperf.runs.session import Run


def pytest_addoption(parser: pytest.Parser) -> None:
    register(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_llmperf import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    # `early_config.option` is empty before the conftest.py files have added theirs.
    if not _asked_for(early_config, early_config.known_args_namespace):
        return (yield)
    from pytest_llmperf.runs.ending import LAST_WORD, ExitGuard

    ending = ExitGuard(early_config, lambda status: _exit_code(early_config, status))
    ending.guard()
    ending.lend_output()
    try:
        result = yield
    except SystemExit as error:
        code = ending.code(error.code, "sys.exit was called while a conftest.py was imported")
        if code and not error.code:
            raise SystemExit(code) from error
        raise
    early_config.pluginmanager.register(ending, LAST_WORD)
    return result


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(fixtures, "llmperf_fixtures")
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    if _asked_for(config, config.option):
        from pytest_llmperf.runs.platforms import why_unsupported

        if why := why_unsupported():
            # The rest of a project's tests run everywhere: only what asks about a model ends the run.
            if _named_on_the_command_line(config.option):
                raise pytest.UsageError(why)
            config.stash[UNSUPPORTED] = why
            return
        from pytest_llmperf.runs.configuring import configure
        from pytest_llmperf.runs.profile_marks import ProfileMarks

        config.pluginmanager.register(ProfileMarks(), LEFT_OUT)
        config.stash[RUN] = configure(config)


def _asked_for(config: pytest.Config, options: argparse.Namespace) -> bool:
    if getattr(options, "collectonly", False) and hasattr(config, "workerinput"):
        return False
    return bool(config.getini("llmperf_models")) or _named_on_the_command_line(options)


def _named_on_the_command_line(options: argparse.Namespace) -> bool:
    chosen = ("llmperf_models", "llmperf_model", "llmperf_baseline", "llmperf_profile", "llmperf_base_url")
    if any(getattr(options, name, None) is not None for name in ("llmperf_plan", "llmperf_mutation_test")):
        return True
    return any(getattr(options, name, None) for name in chosen)


def _exit_code(config: pytest.Config, status: int) -> int:
    """The exit code of the process, where it would end with ``status``: without a run, nothing was judged."""
    if (run := config.stash.get(RUN, None)) is not None:
        return run.exit_code(status)
    if status or UNSUPPORTED in config.stash:
        return status
    options = argparse.Namespace(**vars(config.known_args_namespace) | vars(config.option))
    if not _asked_for(config, options):
        return status
    from pytest_llmperf.runs.ending import shows_only

    return status if shows_only(options) else int(pytest.ExitCode.TESTS_FAILED)


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(RUN, None):
        run.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """xdist: tell the worker where the run's servers are, so that all workers share one start."""
    run = node.config.stash.get(RUN, None)  # type: ignore[attr-defined]
    if run is not None:
        node.workerinput["llmperf_state_root"] = str(run.state_root)  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """pytest-benchmark: its own facts are of the processor alone."""
    if run := config.stash.get(RUN, None):
        machine_info["llmperf"] = {"device": run.settings.device_name, "profile": run.settings.profile.name}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run = metafunc.config.stash.get(RUN, None)
    if run is not None and "candidate" in metafunc.fixturenames:
        from pytest_llmperf.runs.asking import repeat_for_each, wants_candidates

        if wants_candidates(metafunc):
            repeat_for_each(metafunc, [model.name for model in run.settings.candidates])


def pytest_report_header(config: pytest.Config) -> list[str]:
    # With xdist the controlling process collects nothing, and never comes to the hook below.
    run = config.stash.get(RUN, None)
    return [run.header()] if run is not None and config.getoption("dist", "no") != "no" else []


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    run = config.stash.get(RUN, None)
    return [run.header()] if run is not None and run.ledger.entries else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    # In a process of xdist such an error would be an internal one of the controller: the fixture tells it there.
    if (why := session.config.stash.get(UNSUPPORTED, None)) and not hasattr(session.config, "workerinput"):
        from pytest_llmperf.runs.asking import asks

        if any(map(asks, session.items)):
            raise pytest.UsageError(why)
    if run := session.config.stash.get(RUN, None):
        run.expect(session.items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    status = yield
    if status is None or config.pluginmanager.hasplugin("llmperf_last_word"):
        return status
    # A conftest.py has brought this plugin, so that the hook above was never called.
    return _exit_code(config, int(status))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    run = item.config.stash.get(RUN, None)
    if run is not None and run.ledger.entry(item.nodeid) is not None:
        run.explain(item, call, report)
    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    run: Run | None = config.stash.get(RUN, None)
    if run is not None and not hasattr(config, "workerinput"):
        run.summarise(terminalreporter)
