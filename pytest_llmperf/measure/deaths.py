"""Whether a dead server stands behind a failure: then that is what the test has to say."""

from __future__ import annotations

from pytest_llmperf.client.trace import Outcome
from pytest_llmperf.errors import ServerDied
from pytest_llmperf.measure.served import Served

# vLLM's API process looks every five seconds whether its engine has died, and answers with errors until it ends.
NEWS_S = 12.0


def may_be_a_death(outcome: Outcome, status: int) -> bool:
    """Return True if a request ended in a way that a dying server explains; a refusal (HTTP 4xx) does not."""
    if outcome is Outcome.HTTP_ERROR:
        return not 400 <= status < 500
    return outcome in (Outcome.CUT, Outcome.CONNECT_ERROR, Outcome.STREAM_ERROR)


def death_of(*served: Served) -> ServerDied | None:
    """The first death among these servers, waited for while one says that it is not well; None if all live."""
    for one in served:
        if death := one.death(wait_s=0.1):
            return death
    return next(
        (death for one in served if not one.is_healthy() and (death := one.death(wait_s=NEWS_S))), None
    )


def raise_if_dead(served: Served) -> None:
    """Raise :class:`ServerDied` if the server has died since it was last used, or does so now."""
    if death := death_of(served):
        raise death
