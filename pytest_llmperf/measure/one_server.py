"""Questions that have no answer for rows that one server serves, each refused with its reason.

Memory, starts and weights belong to a server, and two names of the same weights on it are one model: comparing them
would compare a server with itself, and be green whatever it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmperf.config.models import Model, same_server, same_weights_on_one_server
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.measure.served import Served

SHARED_START = (
    "one server serves both, asked in turn under two names: "
    "what one start differs by from another is the same for both and cancels in the ratio"
)
"""Why a comparison of such rows takes no spread between starts into account."""


def refuse_of_guest(served: Served, what: str, rows: Iterable[Model]) -> None:
    """Raise :class:`NotMeasured` for a quantity of the server where ``served`` has none of its own, or not alone.

    ``what``: ``"the peak of memory"``; ``rows``: candidates and baseline of the run.
    """
    host, adapters = served.host, _adapters(served)
    if host is not served:
        raise NotMeasured(
            f"{what} of {served.name} is not known: it is {_kind(served.model)} on the server of {host.name}, whose "
            f"{what.removeprefix('the ')} is that of all its rows together; ask it of {host.name}, or give the row a "
            "server of its own"
        )
    apart = [row.name for row in rows if not same_server(row, served.model)]
    if adapters and apart:
        raise NotMeasured(
            f"{what} of {served.name} alone is not known: its server has the adapter {' and '.join(adapters)} as well, "
            f"while {apart[0]} has a server of its own; judge {apart[0]} in a run without {adapters[0]}"
        )


def with_adapters(served: Served) -> str:
    """End of the name of a quantity of the server, which holds adapters as well; empty if it holds none."""
    adapters = _adapters(served)
    return f" with {' and '.join(adapters)}" if adapters else ""


def refuse_one_model(model: Model, others: Iterable[Model], what: str) -> None:
    """Raise :class:`NotMeasured` if ``model`` and one of ``others`` are names of the same weights on one server.

    ``what`` is compared of them, and depends on the weights alone.
    """
    for other in others:
        if not same_weights_on_one_server(model, other):
            continue
        raise NotMeasured(
            f"{what} of {model.name} and {other.name} would compare a server with itself: they are two names of "
            f"the same weights on the server of {model.server_row}, which differ in sampling and rules alone; "
            "compare their answers, or give one a server of its own"
        )


def _adapters(served: Served) -> list[str]:
    return [guest.name for guest in served.guests if guest.adapter]


def _kind(model: Model) -> str:
    return "an adapter" if model.adapter else "an alias"
