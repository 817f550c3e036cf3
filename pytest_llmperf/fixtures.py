"""What a suite may ask for. Each fixture is a thin shell: measuring happens below, judging in the assert.

Registered by the plugin. Heavy imports stay inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.benchmark_bridge import llmperf_replay_clock, to_benchmark
from pytest_llmperf.errors import UsageError
from pytest_llmperf.keys import RUN, UNSUPPORTED

if TYPE_CHECKING:
    from openai import OpenAI

    from pytest_llmperf.config.budgets import BudgetView
    from pytest_llmperf.measure import questions
    from pytest_llmperf.measure.served import Served
    from pytest_llmperf.rules.prompts import Prompts
    from pytest_llmperf.run import Run

__all__ = ["llmperf_replay_clock", "to_benchmark"]  # fixtures of this plugin that have a file of their own


@pytest.fixture(scope="session")
def llmperf_run(pytestconfig: pytest.Config) -> Run:
    """The run: catalogue, budgets, measurements. Suites rarely need it by itself."""
    run = pytestconfig.stash.get(RUN, None)
    if run is None:
        pytest.fail(
            pytestconfig.stash.get(UNSUPPORTED, None)
            or "no catalogue of models: set llmperf_models in pytest's configuration, or give --llmperf-models PATH",
            pytrace=False,
        )
    return run


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest, llmperf_run: Run) -> Served:
    """The model under test; its server starts at the first question. With several --model, once for each."""
    candidates = llmperf_run.settings.candidates
    name = getattr(request, "param", None)
    if name is None and len(candidates) > 1:
        # pytest repeats neither a method of a unittest.TestCase nor what is asked for while a test runs.
        raise UsageError(
            f"this run has {len(candidates)} candidates, and this test cannot be repeated for each: take "
            "`candidate` as an argument of a test function, or give one --model"
        )
    model = candidates[0] if name is None else llmperf_run.settings.candidate(name)
    return llmperf_run.measurements.served(model)


@pytest.fixture(scope="session")
def baseline(llmperf_run: Run) -> Served:
    """The model that the candidate is compared with."""
    return llmperf_run.measurements.served(llmperf_run.settings.baseline)


@pytest.fixture(scope="session")
def budget(llmperf_run: Run) -> BudgetView:
    """What must be kept on this device: ``budget.latency.ttft_p95[8]``."""
    return llmperf_run.settings.budget


@pytest.fixture
def questions_of_this_test(request: pytest.FixtureRequest, llmperf_run: Run) -> questions.Asker:
    """The measurements, with verdicts going to the test that compares."""
    return llmperf_run.asker_for(request.node)


@pytest.fixture
def accuracy(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``accuracy(model, [task], [variant])`` → the share of items that are right."""
    return questions_of_this_test.accuracy


@pytest.fixture
def answers(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``answers(model, [task], [variant])`` → ``.boxed``, ``.unfinished``, ``.loops``, …, ``.tokens_per_correct``."""
    return questions_of_this_test.behaviour


@pytest.fixture
def energy(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``energy(model, [task], [variant])`` → joules of the device by right answer."""
    return questions_of_this_test.energy


@pytest.fixture
def load(questions_of_this_test: questions.Asker) -> questions.Asker.Load:
    """``load(model, concurrency=8)`` and ``load.interleaved(candidate, baseline, concurrency=8)``."""
    return questions_of_this_test.load


@pytest.fixture
def memory(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``memory(model)`` → ``.peak``, ``.weights``."""
    return questions_of_this_test.memory


@pytest.fixture
def startup(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``startup(model)`` → ``.ready``, ``.milestones`` (from the engine's log)."""
    return questions_of_this_test.startup


@pytest.fixture
def macro_f1(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``macro_f1(model, "medqa", [variant])`` → the macro-F1 of a multiple choice, by the letters that were read."""
    return questions_of_this_test.macro_f1


@pytest.fixture
def perplexity(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``perplexity(model, [texts])``: compare with a number, or with ``perplexity(baseline) * 1.05``."""
    return questions_of_this_test.perplexity


@pytest.fixture
def summaries(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``summaries(model, [articles])`` → ``.facts_kept``, ``.unfinished``, ``.rouge_l``; of ``cnn_dailymail``."""
    return questions_of_this_test.summaries


@pytest.fixture
def recall(questions_of_this_test: questions.Asker) -> Callable[..., Any]:
    """``recall(model, tokens=1024)`` → the share of conversations whose fact is given back."""
    return questions_of_this_test.recall


@pytest.fixture
def stream(questions_of_this_test: questions.Asker) -> questions.Asker.Stream:
    """``stream(model, question, **fields)`` → one trace; ``stream.together(model, questions, **fields)``."""
    return questions_of_this_test.stream


@pytest.fixture(scope="session")
def prompts(candidate: Served) -> Prompts:
    """The candidate's prompts, rendered and linted; no server is needed."""
    from pytest_llmperf.rules.prompts import Prompts
    from pytest_llmperf.rules.render import template_of

    return Prompts(candidate.model, template_of(candidate.model))


@pytest.fixture(scope="session")
def rules() -> Any:
    """Ways of asking: ``rules.chinese``, ``rules.at_temperature(0.5)``, ``rules.with_system("…")``, …"""
    from pytest_llmperf.rules import messages

    return messages


@pytest.fixture(scope="session")
def openai_client() -> Generator[Callable[[Served], OpenAI]]:
    """``openai_client(model)`` → openai's own client, for what a server says (never for the clock)."""
    from pytest_llmperf.client.openai_client import openai_client

    clients: dict[str, OpenAI] = {}

    def client(served: Served) -> OpenAI:
        server = served.server
        if server.base_url not in clients:
            clients[server.base_url] = openai_client(server)
        return clients[server.base_url]

    yield client
    for one in clients.values():
        one.close()
