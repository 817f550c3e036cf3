"""openai's own client, for tests of what a server says: never for the clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pytest_llmperf.config.address import Address
from pytest_llmperf.serving.server import Server

if TYPE_CHECKING:
    from openai import OpenAI


def openai_client(server: Server, *, timeout_s: float = 300.0) -> OpenAI:
    """A synchronous ``openai.OpenAI`` on that server; close it, or use it in ``with``.

    No retries (a test must see the first answer), no redirects (the key is meant for this host), no proxies and no keys
    from the environment. The base URL's query goes with every request.
    """
    import openai

    address = Address.parse(server.base_url)
    return openai.OpenAI(
        base_url=str(replace(address, path=f"{address.path}/v1", query="")),
        default_query=dict(parse_qsl(address.query, keep_blank_values=True)),
        # openai refuses None, and would send a key of the environment to a server that asked for none.
        api_key=server.api_key or "none",
        organization="",
        project="",
        max_retries=0,
        timeout=timeout_s,
        http_client=openai.DefaultHttpxClient(trust_env=False, timeout=timeout_s, follow_redirects=False),
    )
