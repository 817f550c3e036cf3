"""All requests that are not timed: attaching, readiness, health, ``/v1/models``, ``/version``.

Redirects are never followed, because a key must only reach the host that it was given for. Proxies of the environment
are never used, because a proxy is not the server. Whatever goes wrong is one :class:`RequestFailed` of one line.
Standard library only, because the keeper imports it; the clock has a connection of its own (``client/connection.py``).
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest_llmperf
from pytest_llmperf.config.address import Address
from pytest_llmperf.errors import RequestFailed, UsageError
from pytest_llmperf.json_values import Json, JsonObject, parse_json

if TYPE_CHECKING:
    from http.client import HTTPResponse

USER_AGENT = f"pytest-llmperf/{pytest_llmperf.__version__}"
TIMEOUT_S = 10.0
BODY_LIMIT = 16 * 1024 * 1024
"""Largest body that is read, bytes: a list of a thousand models takes less than one MiB."""
_PIECE = 65536


@dataclass(frozen=True)
class Response:
    """One complete answer, whatever its status apart from redirects."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)
    url: str
    """As it may be shown."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Parts of the request that must not be shown: servers repeat keys and addresses in their errors."""

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 become U+FFFD."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Json:
        """The body as JSON; None if it isn't JSON, and for JSON's own ``null``."""
        return parse_json(self.body)

    @property
    def says(self) -> str:
        """The error message of the body, or its first line, at most 200 characters; ``no body`` if it is empty.

        The key and the secrets of the address are hidden in it.
        """
        return without_secrets(error_message(self.body), self.secrets)


def request(
    method: str,
    address: Address,
    path: str,
    body: JsonObject | None = None,
    *,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
    limit_bytes: int = BODY_LIMIT,
) -> Response:
    """Send one request on a connection of its own and read the whole answer within ``timeout_s``.

    Raises :class:`RequestFailed` (one line: URL without secrets, what happened, what to do) when there is no
    complete answer, when it is larger than ``limit_bytes``, and for a redirect.
    """
    import http.client  # here and below: a load needs none of it, and begins 20 ms sooner

    shown = address.shown(path)
    deadline = time.monotonic() + timeout_s
    content = None if body is None else json.dumps(body, allow_nan=False).encode()
    secrets = (*address.secrets, *((api_key,) if api_key else ()))
    sock: socket.socket | None = None
    try:
        sock = _connected(address, deadline)
        sock.settimeout(_left(deadline))
        sock.sendall(_request_bytes(method, address, path, content, api_key))
        response = http.client.HTTPResponse(
            cast(socket.socket, _DeadlineReader(sock, deadline)), method=method
        )
        response.begin()
        while 100 < response.status < 200 and response.status != 101:
            # An interim response (103 Early Hints); http.client skips 100 alone.
            response.headers = response.msg = None  # type: ignore[assignment]
            response.begin()
        data = _body(response, limit_bytes)
    except TimeoutError:
        raise RequestFailed(
            f"{shown}: no complete answer within {timeout_s:g} s; is the server overloaded, or is this another port?"
        ) from None
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        if isinstance(error, ConnectionRefusedError):
            text = f"nothing answers at {address.shown()} ({error.strerror}); start the server, or correct the address"
            raise RequestFailed(text) from None
        raise RequestFailed(f"{shown}: {without_secrets(explained(error, address), secrets)}") from None
    finally:
        if sock is not None:
            sock.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    if 300 <= response.status < 400 and response.status != 304:
        where = redirect(response.status, headers.get("location"), secrets)
        raise RequestFailed(f"{shown}: {where}")
    return Response(response.status, headers, data, shown, secrets)


def redirect(status: int, location: str | None, secrets: Sequence[str] = ()) -> str:
    """The message for an answer that redirects, with ``secrets`` hidden in its target."""
    where = (
        repr(without_secrets(clean(location), secrets))
        if location
        else "nowhere (there is no Location header)"
    )
    return (
        f"HTTP {status} redirects to {where}; redirects are not followed, because the key is meant for this host "
        "alone: if that is the server, give its address as base_url"
    )


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """``text`` with each of ``secrets`` replaced by ``…``; values shorter than 4 characters are left, because they
    are found everywhere."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "…")
    return text


def explained(error: BaseException, address: Address) -> str:
    """One line that explains a connection error and says what to do, without secrets or Python's type names."""
    import http.client

    text = clean(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({clean(error.verify_message)}); name the authority's file in "
            "SSL_CERT_FILE, or use http:// if the server is local"
        )
    if isinstance(error, ssl.SSLError):
        if error.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
            "UNKNOWN_PROTOCOL",
        ):
            return "the port does not speak TLS; write http:// in place of https://"
        return f"no TLS connection ({clean(error.reason or text)}); does the port speak TLS?"
    if isinstance(error, socket.gaierror):
        return f"no host has the name {address.host!r} ({text}); correct the address"
    if isinstance(error, http.client.RemoteDisconnected):
        more = "" if address.tls else "; if the port speaks TLS, write https://"
        return f"the server closed the connection without an answer{more}"
    if isinstance(error, http.client.BadStatusLine):
        line = str(error.args[0]) if error.args else ""
        if line.startswith(("\x15\x03", "\x16\x03")):
            return "the port speaks TLS; write https:// in place of http://"
        return f"the answer is not HTTP/1.1 but {clean(line)!r}; is this the port of the server?"
    if isinstance(error, http.client.UnknownProtocol):
        return f"the answer is {text}, not HTTP/1.1; is this the port of the server?"
    if isinstance(error, http.client.LineTooLong):
        return "a line of the answer's header is longer than 65,536 bytes; is this the port of the server?"
    if isinstance(error, http.client.IncompleteRead):
        return (
            "the answer ended before its body was complete, or its chunks are malformed; did the server end?"
        )
    if isinstance(error, zlib.error):
        return "the body is compressed, which was not asked for, and damaged"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        more = "" if address.tls else "; if the port speaks TLS, write https://"
        return f"the server broke the connection ({text}){more}"
    return f"{text}; is this the address of the server?"


def error_message(body: bytes | str) -> str:
    """The error message of a JSON body, or the first line of another one, at most 200 characters."""
    text = body if isinstance(body, str) else body.decode("utf-8", errors="replace")
    parsed = parse_json(text)
    if isinstance(parsed, dict):
        for name in ("error", "detail", "message", "msg"):
            value = parsed.get(name)
            if isinstance(value, dict):
                value = value.get("message") or value.get("msg") or value.get("type")
            if value:
                return clean(value if isinstance(value, str) else repr(value))
    if text.lstrip()[:1] == "<":
        # A page of a gateway: its title says more than its first tag.
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return clean(next((line for line in re.split(r"[\r\n]+", text) if line.strip()), "")) or "no body"


def clean(text: str, limit: int = 200) -> str:
    """Text from a server as one line that is safe in a message or a record: no control characters, no unpaired
    surrogates, at most ``limit`` characters."""
    text = text[: 4 * limit].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


_ABOUT_KEYS = re.compile(r"\bkey|token|authenticat|authoriz|credential|bearer|permission", re.IGNORECASE)


def is_about_the_key(status: int, says: str) -> bool:
    """True if a refusal is about the API key. HTTP 403 may also come from a firewall that objects to something else."""
    return status == 401 or (status == 403 and bool(_ABOUT_KEYS.search(says)))


def retry_after_s(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (seconds, or a date; RFC 9110, 10.2.3); None without a valid one.

    ``now_s``: the present as seconds since 1970; None: the system's clock.
    """
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    value = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return float(value)
    try:
        due_s = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, due_s - (time.time() if now_s is None else now_s))


def checked_key(api_key: str | None, where: str) -> str | None:
    """The key as it goes into the header, without the line end that a file leaves. Raises :class:`UsageError`, which
    does not show the key, if it has characters that no header can carry."""
    key = (api_key or "").strip()
    if not all(" " < char <= "~" for char in key):
        raise UsageError(
            f"{where} has characters that no HTTP header can carry; need printable ASCII without spaces"
        )
    return key or None


def unused_proxies(address: Address) -> str:
    """Environment variables with proxies that other clients would use for this address and ours does not; empty if
    there are none."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    if not any(proxies.get(scheme) for scheme in (address.scheme, "all")):
        return ""
    if proxy_bypass(f"{address.host}:{address.port}"):
        return ""
    wanted = {f"{address.scheme}_proxy", "all_proxy"}
    return ", ".join(sorted(name for name, value in os.environ.items() if value and name.lower() in wanted))


def _request_bytes(
    method: str, address: Address, path: str, content: bytes | None, api_key: str | None
) -> bytes:
    lines = [
        f"{method} {address.target(path)} HTTP/1.1",
        f"Host: {address.netloc}",
        f"User-Agent: {USER_AGENT}",
        "Accept: application/json, text/plain, */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    if content is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (content or b"")


def _connected(address: Address, deadline: float) -> socket.socket:
    """A connection, with TLS where the scheme says so; every address of the host gets its share of the time."""
    places = _resolved(address, deadline)
    sock, failure = None, None
    for number, (family, kind, protocol, _, where) in enumerate(places):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline) / (len(places) - number))
            sock.connect(where)
            break
        except OSError as error:
            sock.close()
            sock, failure = None, error
    if sock is None:
        raise failure or OSError(f"the name {address.host} has no address")
    if not address.tls:
        return sock
    try:
        sock.settimeout(_left(deadline))
        return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)
    except TimeoutError:
        sock.close()
        raise OSError(
            "the TLS handshake got no answer; if the port does not speak TLS, write http://"
        ) from None
    except BaseException:
        sock.close()
        raise


def _resolved(address: Address, deadline: float) -> list[Any]:
    import ipaddress

    try:
        ipaddress.ip_address(address.host.partition("%")[0])
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    # A name lookup can't be cancelled: it gets a thread of its own, which is abandoned at the deadline.
    found: list[Any] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=resolve, name="llmperf-resolver", daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if not found:
        raise TimeoutError
    if isinstance(found[0], BaseException):
        raise found[0]
    return cast(list[Any], found[0])


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _DeadlineReader(io.RawIOBase):
    """A socket as ``http.client`` reads it, with one deadline for the whole answer."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def _body(response: HTTPResponse, limit: int) -> bytes:
    """The whole body. Raises what ``http.client`` raises, and ``OSError`` for one that is too large."""
    from http.client import IncompleteRead

    if (response.length or 0) > limit:
        raise OSError(f"the body has {response.length:,} bytes; at most {limit:,} are read")
    data = bytearray()
    # Not read(n): cut short, it returns what came as if it were all.
    while piece := response.read1(_PIECE):
        data += piece
        if len(data) > limit:
            raise OSError(f"the body is longer than {limit:,} bytes, which is all that is read")
    if response.length:
        raise IncompleteRead(bytes(data), response.length)
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate") and data:
        inflater = zlib.decompressobj(wbits=47)
        data = bytearray(inflater.decompress(bytes(data), limit + 1))
        if len(data) > limit:
            raise OSError(f"the body is longer than {limit:,} bytes, which is all that is read")
    elif encoding != "identity":
        raise OSError(f"the body is encoded as {clean(encoding)!r}, which was not asked for")
    return bytes(data)
