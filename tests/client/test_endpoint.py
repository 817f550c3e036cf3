"""Base URLs as people write them."""

from __future__ import annotations

import pytest

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.errors import UsageError


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "path"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, False, ""),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, False, ""),
        ("https://example.com", "example.com", 443, True, ""),
        ("https://example.com/a/b/", "example.com", 443, True, "/a/b"),
        ("http://[::1]:8000/x", "::1", 8000, False, "/x"),
    ],
)
def test_a_base_url_is_taken_apart(url: str, host: str, port: int, tls: bool, path: str) -> None:
    endpoint = Endpoint.from_url(url)
    assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.path) == (host, port, tls, path)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://x:80a",
        "http://x#y",
        "http://u:p@x",
        "http://x/a b",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Endpoint.from_url(url)


def test_the_query_of_the_base_url_goes_with_every_request() -> None:
    endpoint = Endpoint.from_url("https://x/openai?api-version=2024-10-21")
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
        assert endpoint.request(method, path).startswith(
            f"{method} /openai{path}?api-version=2024-10-21 HTTP/1.1\r\n".encode()
        )


@pytest.mark.parametrize("key", ["a\r\nHost: evil", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as refused:
        Endpoint.from_url("http://x", key)
    assert key not in str(refused.value)


def test_the_key_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Endpoint.from_url("http://x", "s3cret"))


def test_an_ipv6_host_has_brackets_in_its_header() -> None:
    assert b"Host: [::1]:8000\r\n" in Endpoint.from_url("http://[::1]:8000").request("GET", "/health")


def test_a_body_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Endpoint.from_url("http://x").request("POST", "/x", {"temperature": float("nan")})
