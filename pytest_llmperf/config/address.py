"""Base URLs: read once, checked once, and shown without secrets. Standard library only: the keeper imports it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit

from pytest_llmperf.errors import UsageError

_ENDINGS = re.compile(r"(/v1)?(/chat/completions|/completions|/models)?/*$")
"""Paths that people copy along with a base URL, and that every request adds by itself."""
_SHOWN_VALUES = frozenset({"api-version", "version"})
"""Query parameters that are no secret; the values of all others are hidden wherever an address is shown."""
_NEED = "need http://HOST:PORT or https://HOST:PORT, with a path and a query if the server wants them"


@dataclass(frozen=True)
class Address:
    """One server: ``scheme://host:port`` plus ``path`` and ``query``, which every request to it carries."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Prefix of every path, without a trailing slash and without ``/v1``; empty or ``/some/prefix``."""
    query: str = ""
    """Appended to every request, without the question mark (``api-version=2024-10-21``)."""

    @classmethod
    def parse(cls, url: str, where: str = "base URL") -> Address:
        """Read ``http[s]://host[:port][/prefix][/v1][?query]``.

        Raises :class:`UsageError`, one line that begins with ``where``, for anything else. User names and passwords
        are refused and never shown.
        """
        url = url.strip()
        try:
            parts = urlsplit(url)
            has_user = "@" in parts.netloc
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(
                f"{where} {_masked(url)!r} is not a URL: {_masked(str(error))}; {_NEED}"
            ) from None
        if has_user:
            raise UsageError(
                f"{where} of host {host!r} holds a user name or a password: take it out, and name the environment "
                "variable that holds the key as api_key_env in models.toml"
            )
        if parts.scheme not in ("http", "https"):
            raise UsageError(f"{where} {_masked(url)!r} must begin with http:// or https://; {_NEED}")
        if not host:
            raise UsageError(f"{where} {_masked(url)!r} names no host; {_NEED}")
        if parts.fragment:
            raise UsageError(f"{where} {_masked(url)!r} has a fragment (what follows the #); {_NEED}")
        if port == 0:
            raise UsageError(f"{where} {_masked(url)!r} has port 0; need 1 to 65535")
        for name, part in (("path", parts.path), ("query", parts.query)):
            if quote(part, safe="/?:@!$&'()*+,;=-._~%[]|", errors="replace") != part:
                raise UsageError(f"{where} {_masked(url)!r}: its {name} must be percent-encoded ASCII")
        return cls(
            parts.scheme,
            _ascii_host(host, url, where),
            port or (443 if parts.scheme == "https" else 80),
            _ENDINGS.sub("", parts.path).rstrip("/"),
            parts.query,
        )

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def netloc(self) -> str:
        """``host`` or ``host:port``, as it stands in a URL; a port that the scheme implies is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values of the query that must not be shown, as they are written and decoded."""
        written = (pair.partition("=") for pair in self.query.split("&"))
        values = [value for name, _, value in written if unquote_plus(name) not in _SHOWN_VALUES]
        return tuple(dict.fromkeys(form for value in values for form in (value, unquote_plus(value)) if form))

    def __str__(self) -> str:
        """The base URL, query included: what :meth:`parse` reads back."""
        return f"{self.scheme}://{self.netloc}{self.path}" + (f"?{self.query}" if self.query else "")

    def target(self, path: str) -> str:
        """The target in a request's first line for ``path`` (``/v1/models``)."""
        return f"{self.path}{path}" + (f"?{self.query}" if self.query else "")

    def shown(self, path: str = "") -> str:
        """The URL of ``path`` for a message: values of the query are hidden, unless known to be harmless."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        query = "&".join(f"{name}={value if name in _SHOWN_VALUES else '…'}" for name, value in pairs)
        return f"{self.scheme}://{self.netloc}{self.path}{path}" + (f"?{query}" if query else "")


def _masked(url: str) -> str:
    """A URL that could not be read, without what may be a user's name, a password or a key."""
    url = re.sub(r"[^/\s]*@", "…@", url)
    return re.sub(r"([?&#][^=&#\s]*=)[^&#\s]*", r"\1…", url)


def _ascii_host(host: str, url: str, where: str) -> str:
    if host.isascii() and re.fullmatch(r"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._~-]+)?", host):
        return host
    try:
        if not host.isascii():
            return host.encode("idna").decode("ascii")
    except UnicodeError:
        pass
    raise UsageError(f"{where} {_masked(url)!r}: {host!r} is not a valid host name; {_NEED}")
