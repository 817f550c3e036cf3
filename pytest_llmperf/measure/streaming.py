"""A few streamed chat requests whose traces a test looks at one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pytest_llmperf.client import loop
from pytest_llmperf.client.body import lint, path_of, streaming
from pytest_llmperf.client.capabilities import find_refused, without
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.config.address import Address
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import may_be_a_death, raise_if_dead
from pytest_llmperf.serving.http_client import explained

# Enough to see a stream flow; a test that wants the whole answer says so.
_MAX_TOKENS = 64


def together(served: Served, questions: Sequence[str], fields: JsonObject) -> list[Trace]:
    """One chat request a question, all sent at once on open connections; in the order of the questions.

    Raises :class:`ServerDied` if a request failed because the server is gone, :class:`NotMeasured` if a test replaces
    the clock.
    """
    server = served.server
    bodies = [
        streaming(
            lint(
                {
                    "model": server.model,
                    "messages": [{"role": "user", "content": question}],
                    **served.sampling.body(),
                    "max_tokens": _MAX_TOKENS,
                    **fields,
                }
            )
        )
        for question in questions
    ]

    async def send() -> list[Trace]:
        async with Pool(Endpoint.of(server)) as pool:
            await pool.open(len(bodies))
            refused = await find_refused(pool, server.capabilities, bodies[0], keep=fields)
            sent = [without(body, refused, keep=fields) for body in bodies]
            requests = [pool.endpoint.request("POST", path_of(body), body) for body in sent]
            replies = await asyncio.gather(*(pool.send(request) for request in requests))
        return [trace_of(reply, index) for index, reply in enumerate(replies)]

    clock = RealClock()
    try:
        traces = loop.run(send)
    except OSError as error:
        raise_if_dead(served)
        raise InfrastructureError(
            f"no connection to {server.shown}: {explained(error, Address.parse(server.base_url))}"
        ) from error
    clock.check()
    if any(may_be_a_death(trace) for trace in traces):
        raise_if_dead(served)
    return traces
