"""The fixtures for suites. Each is a thin shell: measuring happens below, judging in the assert.

Registered by the plugin. Heavy imports stay inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.runs.keys import RUN, UNSUPPORTED

if TYPE_CHECKING:
    from openai import OpenAI

    from pytest_llmperf.config.budgets import BudgetView
    from pytest_llmperf.gates.quantile import Series
    from pytest_llmperf.measure.fidelity import FidelityQuestions
    from pytest_llmperf.measure.load_questions import LoadQuestions, StreamQuestions
    from pytest_llmperf.measure.questions import Questions
    from pytest_llmperf.measure.served import Served
    from pytest_llmperf.prompts.prompts import Prompts
    from pytest_llmperf.runs.benchmark_bridge import ReplayClock
    from pytest_llmperf.runs.session import Run


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
        from pytest_llmperf.errors import UsageError

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
    """The limits that hold on this device: ``budget.latency.ttft_p95[8]``."""
    return llmperf_run.settings.budget


@pytest.fixture
def _llmperf_questions(llmperf_run: Run) -> Questions:
    """The questions behind the fixtures below; their verdicts go to the test that compares."""
    return llmperf_run.questions()


@pytest.fixture
def accuracy(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``accuracy(model, [task], [variant])`` → the share of items that are right."""
    return _llmperf_questions.accuracy


@pytest.fixture
def flips(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``flips(model, baseline, [task], [variant])`` → the share of items that exactly one of the two answers right."""
    return _llmperf_questions.flips


@pytest.fixture
def answers(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``answers(model, [task], [variant])`` → ``.boxed``, ``.unfinished``, ``.loops``, …, ``.tokens_per_correct``."""
    return _llmperf_questions.behaviour


@pytest.fixture
def energy(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``energy(model, [task], [variant])`` → joules of the device by correct answer."""
    return _llmperf_questions.energy


@pytest.fixture
def load(_llmperf_questions: Questions) -> LoadQuestions:
    """``load(model, concurrency=8)`` and ``load.interleaved(candidate, baseline, concurrency=8)``."""
    return _llmperf_questions.load


@pytest.fixture
def memory(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``memory(model)`` → ``.peak``, ``.weights``."""
    return _llmperf_questions.memory


@pytest.fixture
def startup(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``startup(model)`` → ``.ready``, ``.milestones`` (from the engine's log)."""
    return _llmperf_questions.startup


@pytest.fixture
def score(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``score(model, "mine", [variant])`` → the mean score of its answers, of a grader that gives ``Grade.score``."""
    return _llmperf_questions.score


@pytest.fixture
def macro_f1(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``macro_f1(model, "medqa", [variant])`` → the macro-F1 of a multiple choice, by the letters that were read."""
    return _llmperf_questions.macro_f1


@pytest.fixture
def perplexity(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``perplexity(model, [texts])``: compare with a number, or with ``perplexity(baseline) * 1.05``."""
    return _llmperf_questions.perplexity


@pytest.fixture
def fidelity(_llmperf_questions: Questions) -> FidelityQuestions:
    """``fidelity(model, baseline, [task])`` → ``.divergence``, ``.top_token_agreement``; ``fidelity.noise(model)``."""
    return _llmperf_questions.fidelity


@pytest.fixture
def consistency(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``consistency(model, [task])`` → ``.batching``, ``.decoding``, ``.prefix_cache``: one server against itself."""
    return _llmperf_questions.consistency


@pytest.fixture
def summaries(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``summaries(model, [articles])`` → ``.facts_kept``, ``.unfinished``, ``.rouge_l``; of ``cnn_dailymail``."""
    return _llmperf_questions.summaries


@pytest.fixture
def structured(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``structured(model, [task], [variant])`` → ``.valid_json``, ``.valid_schema``, ``.exact``: replies in a form."""
    return _llmperf_questions.structured


@pytest.fixture
def tool_calls(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``tool_calls(model, [task], [variant])`` → ``.valid_arguments``, ``.exact``, ``.trigger_f1``."""
    return _llmperf_questions.tool_calls


@pytest.fixture
def recall(_llmperf_questions: Questions) -> Callable[..., Any]:
    """``recall(model, ["needles"], tokens=32768)`` → the share of facts of long prompts that are given back."""
    return _llmperf_questions.recall


@pytest.fixture
def stream(_llmperf_questions: Questions) -> StreamQuestions:
    """``stream(model, question, **fields)`` → one trace; ``stream.together(model, questions, **fields)``."""
    return _llmperf_questions.stream


@pytest.fixture(scope="session")
def prompts(candidate: Served) -> Prompts:
    """The candidate's prompts, rendered and linted; no server is needed."""
    from pytest_llmperf.prompts.prompts import Prompts
    from pytest_llmperf.prompts.template import template_of

    return Prompts(candidate.model, template_of(candidate.model))


@pytest.fixture(scope="session")
def rules() -> Any:
    """Ways of asking: ``rules.chinese``, ``rules.at_temperature(0.5)``, ``rules.with_system("…")``, …"""
    from pytest_llmperf.prompts import variants

    return variants


@pytest.fixture(scope="session")
def openai_client() -> Generator[Callable[[Served], OpenAI]]:
    """``openai_client(model)`` → openai's own client, for what a server says (never for the clock)."""
    from pytest_llmperf.client.openai_client import openai_client

    clients: dict[tuple[str, str], OpenAI] = {}

    def client(served: Served) -> OpenAI:
        server = served.server
        # By row as well: a port may be that of another candidate's server before, which had another key.
        key = (served.host.name, server.base_url)
        if key not in clients:
            clients[key] = openai_client(server)
        return clients[key]

    yield client
    for opened in clients.values():
        opened.close()


@pytest.fixture
def llmperf_replay_clock(request: pytest.FixtureRequest) -> ReplayClock:
    """For ``to_benchmark``: must be there before ``benchmark`` is, which reads its marker."""
    from pytest_llmperf.runs.benchmark_bridge import replay_clock

    return replay_clock(request)


@pytest.fixture
def to_benchmark(
    llmperf_replay_clock: ReplayClock, benchmark: Any, pytestconfig: pytest.Config
) -> Callable[[Series], None]:
    """``to_benchmark(load(model, concurrency=8).ttft)``: one series to pytest-benchmark, once in a test."""
    from pytest_llmperf.runs.benchmark_bridge import handing_over

    return handing_over(llmperf_replay_clock, benchmark, pytestconfig)
