"""Where requests go, and the bytes of a request."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.errors import UsageError
from pytest_llmperf.serving.server import Server


@dataclass(frozen=True)
class Endpoint:
    """A server's address, split once. Proxies from the environment are never used: a proxy is not the
    server."""

    host: str
    port: int
    tls: bool
    path: str
    """Prefix of every path, without a trailing slash; ``""`` or ``/some/prefix``."""
    api_key: str | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    """None: the system's trusted certificates."""

    @classmethod
    def of(cls, server: Server, ssl_context: ssl.SSLContext | None = None) -> Endpoint:
        return cls.from_url(server.base_url, server.api_key, ssl_context)

    @classmethod
    def from_url(
        cls, base_url: str, api_key: str | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> Endpoint:
        """From ``http[s]://host[:port][/prefix]``.

        Raises ``UsageError`` for anything else, and for a key that cannot be in a header (the key is not
        shown).
        """
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"base URL {base_url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"base URL {base_url!r}: need http://host:port or https://host:port")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise UsageError(
                f"base URL for host {parts.hostname!r}: need host, port and path; the key goes into api_key"
            )
        path = parts.path.rstrip("/")
        if not _header_safe(path) or " " in path:
            raise UsageError(f"base URL {base_url!r}: the path must be percent-encoded ASCII")
        if api_key is not None and not _header_safe(api_key):
            raise UsageError("the API key has characters that no HTTP header can carry; need printable ASCII")
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, path, api_key, ssl_context)

    def context(self) -> ssl.SSLContext | None:
        """The TLS settings to connect with; None for plain HTTP."""
        if not self.tls:
            return None
        return self.ssl_context or ssl.create_default_context()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The whole HTTP/1.1 request; ``path`` begins with a slash (``/v1/models``).

        Raises ``ValueError`` for a body with NaN or infinity, which JSON does not have.
        """
        content = b"" if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"{method} {self.path}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "User-Agent: pytest-llmperf",
            "Accept: text/event-stream, application/json, text/plain",
            # A compressed stream would arrive in the compressor's rhythm, not in the model's.
            "Accept-Encoding: identity",
        ]
        if self.api_key is not None:
            lines.append(f"Authorization: Bearer {self.api_key}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + content


def _header_safe(text: str) -> bool:
    return all(" " <= char <= "~" for char in text)
