"""The address of a server as the client uses it, and the bytes of a request."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pytest_llmperf.config.address import Address
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.http_client import USER_AGENT, checked_key
from pytest_llmperf.serving.server import Server


@dataclass(frozen=True)
class Endpoint:
    """A server's address and key, checked once. Proxies from the environment are never used: a proxy is not the
    server."""

    address: Address
    api_key: str | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    """None: the system's trusted certificates."""
    silence_limit_s: float | None = field(default=None, compare=False)
    """Seconds without a byte, while requests wait, after which the server counts as dead; None: never."""
    on_silence: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    """Called with one sentence when that has happened, in a thread of its own; it may take its time."""

    @classmethod
    def of(cls, server: Server, ssl_context: ssl.SSLContext | None = None) -> Endpoint:
        return replace(
            cls.from_url(server.base_url, server.api_key, ssl_context),
            silence_limit_s=server.silence_limit_s,
            on_silence=server.on_silence,
        )

    @classmethod
    def from_url(
        cls, base_url: str, api_key: str | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> Endpoint:
        """From ``http[s]://host[:port][/prefix][?query]``.

        Raises ``UsageError`` for anything else, and for a key that cannot be in a header (the key is not
        shown).
        """
        return cls(Address.parse(base_url), checked_key(api_key, "the API key"), ssl_context)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Parts of every request that no message may show: servers repeat them in their errors."""
        return (*self.address.secrets, *((self.api_key,) if self.api_key else ()))

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def tls(self) -> bool:
        return self.address.tls

    @property
    def path(self) -> str:
        """Prefix of every path, without a trailing slash; ``""`` or ``/some/prefix``."""
        return self.address.path

    def context(self) -> ssl.SSLContext | None:
        """The TLS settings to connect with; None for plain HTTP."""
        if not self.tls:
            return None
        return self.ssl_context or ssl.create_default_context()

    def request(self, method: str, path: str, body: JsonObject | None = None) -> bytes:
        """The whole HTTP/1.1 request; ``path`` begins with a slash (``/v1/models``).

        Raises ``ValueError`` for a body with NaN or infinity, which JSON does not have.
        """
        content = b"" if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        lines = [
            f"{method} {self.address.target(path)} HTTP/1.1",
            f"Host: {self.address.netloc}",
            f"User-Agent: {USER_AGENT}",
            "Accept: text/event-stream, application/json, text/plain",
            # A compressed stream would arrive in the compressor's rhythm, not in the model's.
            "Accept-Encoding: identity",
        ]
        if self.api_key is not None:
            lines.append(f"Authorization: Bearer {self.api_key}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + content
