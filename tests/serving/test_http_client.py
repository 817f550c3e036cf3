"""Whatever a server does to a request of ours is one line that names the URL, what happened and what to do."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from pytest_llmperf.config.address import Address
from pytest_llmperf.errors import LlmperfError, RequestFailed, StartError, UsageError, first_line
from pytest_llmperf.serving.http_client import (
    USER_AGENT,
    checked_key,
    clean,
    error_message,
    request,
    retry_after_s,
    unused_proxies,
)

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Fake:
    """A server that sends the same bytes to every request, then closes."""

    address: Address
    requests: list[bytes] = field(default_factory=list)


Start = Callable[..., Fake]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(bytes or function of the socket)``."""
    ends: list[Callable[[], None]] = []

    def begin(answer: bytes | Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Fake:
        listener = socket.create_server(("127.0.0.1", 0))
        fake = Fake(Address("https" if tls else "http", "127.0.0.1", listener.getsockname()[1]))

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError):
                    if tls:
                        connection = tls.wrap_socket(connection, server_side=True)
                    connection.settimeout(5)
                    data = b""
                    while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
                        data += part
                    fake.requests.append(data)
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end() -> None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(5)

        ends.append(end)
        return fake

    yield begin
    for end in ends:
        end()


def failure(address: Address, **how: float) -> str:
    with pytest.raises(RequestFailed) as caught:
        request("GET", address, "/v1/models", **how)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    assert not re.search(r"Traceback|http\.client|IncompleteRead|BadStatusLine|object at", text), text
    return text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "closed the connection without an answer; if the port speaks TLS, write https://"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "the port speaks TLS; write https:// in place of http://"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP/1.1 but 'SSH-2.0-OpenSSH_9.6'"),
        (b"<html>hello</html>\n", "the answer is not HTTP/1.1 but '<html>hello</html>'"),
        (b"\x00\xff\xfe\x01garbage\n", "the answer is not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "the answer is HTTP/2.0, not HTTP/1.1"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 " + b"x" * 70000, "a line of the answer's header is longer than"),
        (JSON + b"X: " + b"x" * 70000 + b"\r\n\r\n", "a line of the answer's header is longer than"),
        (JSON + b"".join(b"X%d: 1\r\n" % n for n in range(200)) + b"\r\n", "got more than 100 headers"),
        (JSON + b"Content-Length: 100\r\n\r\n{", "ended before its body was complete"),
        (CHUNKED + b"5\r\nab", "ended before its body was complete"),
        (CHUNKED + b"zz\r\nabc\r\n", "its chunks are malformed"),
        (CHUNKED + b"2\r\nab\r\n", "its chunks are malformed"),
        (JSON + b"Content-Length: 99999999999\r\n\r\n", "the body has 99,999,999,999 bytes; at most"),
        (JSON + b"Content-Encoding: br\r\n\r\nabc", "the body is encoded as 'br', which was not asked for"),
        (
            JSON + b"Content-Encoding: gzip\r\n\r\nabc",
            "the body is compressed, which was not asked for, and damaged",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_answer_that_is_none_is_one_line(start: Start, answer: bytes, says: str) -> None:
    fake = start(answer)
    text = failure(fake.address)
    assert text.startswith(f"{fake.address}/v1/models: ")
    assert says in text


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_named_and_never_followed(start: Start, status: int, method: str) -> None:
    other = start(JSON + b"\r\n{}")
    location = f"{other.address}/stolen"
    fake = start(f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
    with pytest.raises(RequestFailed, match=f"HTTP {status} redirects to '{location}'"):
        request(method, fake.address, "/v1/models", {} if method == "POST" else None, api_key="s3cret-key")
    assert b"Authorization: Bearer s3cret-key\r\n" in fake.requests[0]
    assert other.requests == []


def test_the_deadline_is_that_of_the_whole_answer(start: Start) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            connection.sendall(b"1\r\nx\r\n")
            time.sleep(0.01)

    began = time.monotonic()
    assert "no complete answer within 0.3 s" in failure(start(drip).address, timeout_s=0.3)
    assert time.monotonic() - began < 2


def test_a_body_without_end_is_not_read_to_its_end(start: Start) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    assert "the body is longer than 100,000 bytes" in failure(start(flood).address, limit_bytes=100_000)


def test_a_small_body_that_inflates_to_a_huge_one_is_refused(start: Start) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    fake = start(JSON + b"Content-Encoding: gzip\r\n\r\n" + bomb)
    assert "the body is longer than 100,000 bytes" in failure(fake.address, limit_bytes=100_000)
    assert len(request("GET", fake.address, "/x").body) == 10_000_000


def test_a_reset_a_refusal_and_a_name_without_host_are_told_apart(start: Start) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    assert "the server broke the connection" in failure(start(reset).address)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert failure(Address("http", "127.0.0.1", port)).startswith(
        f"nothing answers at http://127.0.0.1:{port} (Connection refused)"
    )
    assert "no host has the name 'nowhere.invalid'" in failure(Address("http", "nowhere.invalid", 80))


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
    command = ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_a_certificate_of_its_own_is_refused_with_the_remedy(
    start: Start, self_signed: ssl.SSLContext
) -> None:
    text = failure(start(JSON + b"\r\n{}", tls=self_signed).address)
    assert "its certificate is not trusted (self-signed certificate)" in text
    assert "SSL_CERT_FILE" in text


def test_tls_and_plain_are_told_apart(start: Start, self_signed: ssl.SSLContext) -> None:
    secure = start(JSON + b"\r\n{}", tls=self_signed).address
    assert "write https://" in failure(Address("http", secure.host, secure.port))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        text = failure(Address("https", "127.0.0.1", listener.getsockname()[1]))
        thread.join(5)
    assert "does not speak TLS; write http:// in place of https://" in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h:80a", "is not a URL: Port could not be cast"),
        ("http://h:99999", "is not a URL: Port out of range"),
        ("http://h:0", "has port 0"),
        ("http://[::1", "is not a URL"),
        ("http://", "names no host"),
        ("http://:8000", "names no host"),
        ("http:///v1", "names no host"),
        ("localhost:8000", "must begin with http:// or https://"),
        ("127.0.0.1:8000", "must begin with http:// or https://"),
        ("unix:///run/vllm.sock", "must begin with http:// or https://"),
        ("http+unix://%2Frun%2Fvllm.sock", "must begin with http:// or https://"),
        ("ftp://h", "must begin with http:// or https://"),
        ("http://me:hidden@h", "holds a user name or a password"),
        ("http://hidden@h:80a", "is not a URL"),
        ("http://h#x", "has a fragment"),
        ("me:hidden@h:80", "must begin with http:// or https://"),
        ("http:/me:hidden@h/", "names no host"),
        ("http://h/?key=hidden#x", "has a fragment"),
        ("http://h:0/?key=hidden", "has port 0"),
        ("http://h/?key=hidden ä", "its query must be percent-encoded"),
        ("ftp://h/?a=1&key=hidden", "must begin with http:// or https://"),
        ("http://h:80a/?key=hidden", "is not a URL"),
        ("http://h#access_token=hidden", "has a fragment"),
        ("http://h/a b", "must be percent-encoded"),
        ("http://h/ä", "must be percent-encoded"),
        ("http://h/\udc80", "must be percent-encoded"),
        ("http://a b/", "is not a valid host name"),
        ("http://h\\evil", "is not a valid host name"),
        ("http://" + "ä" * 300, "is not a valid host name"),
    ],
)
def test_what_is_no_base_url_is_one_line_without_secrets(url: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Address.parse(url)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h", "http://h"),
        (" http://h:80/ ", "http://h"),
        ("HTTP://H:8000/v1/", "http://h:8000"),
        ("https://h:443/v1/chat/completions", "https://h"),
        ("http://h/some/prefix/v1", "http://h/some/prefix"),
        ("http://h/v1/models", "http://h"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example"),
        ("https://h/openai/v1?api-version=2024-10-21", "https://h/openai?api-version=2024-10-21"),
        ("http://under_score.svc:80/v1", "http://under_score.svc"),
    ],
)
def test_a_base_url_is_the_same_however_it_is_written(url: str, base: str) -> None:
    address = Address.parse(url)
    assert str(address) == base
    assert Address.parse(base) == address


def test_prefix_query_key_and_name_go_with_the_request(start: Start) -> None:
    fake = start(JSON + b'\r\n\xef\xbb\xbf{"a": 1}')
    address = Address.parse(f"{fake.address}/some/prefix/v1?api-version=7&sig=s3cret")
    response = request("GET", address, "/v1/models", api_key="key")
    head = fake.requests[0].decode()
    assert head.startswith("GET /some/prefix/v1/models?api-version=7&sig=s3cret HTTP/1.1\r\n")
    assert f"User-Agent: {USER_AGENT}\r\n" in head
    assert "Authorization: Bearer key\r\n" in head
    assert response.json() == {"a": 1}
    assert response.url == f"{fake.address}/some/prefix/v1/models?api-version=7&sig=…"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"message": "Loading\\nmodel", "code": 503}}', "Loading model"),
        (b'{"error": "no"}', "no"),
        (b'{"detail": [{"loc": ["body"]}]}', "[{'loc': ['body']}]"),
        (b"<html><head><title>403 Forbidden</title></head></html>", "403 Forbidden"),
        (b"\n\n  first \nsecond", "first"),
        (b"", "no body"),
        (b"\xff\xfe\x00bad", "�� bad"),
        (b"\x1b[31mred\x07", "[31mred"),
        (b"x" * 1000, "x" * 199 + "…"),
        (b"[" * 200_000, "[" * 199 + "…"),
        (b'{"message": "\\ud800 half"}', "� half"),
    ],
)
def test_a_strangers_words_are_one_clean_line(body: bytes, says: str) -> None:
    assert error_message(body) == says
    assert clean(says) == says


def test_retry_after_is_seconds_or_a_date() -> None:
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC)
    later = format_datetime(noon + timedelta(seconds=90), usegmt=True)
    assert retry_after_s(later, noon.timestamp()) == 90
    assert retry_after_s(format_datetime(noon, usegmt=True), noon.timestamp() + 50) == 0
    assert retry_after_s(" 7 ") == 7
    assert retry_after_s("0.5") == 0.5
    for wrong in (
        None,
        "",
        "soon",
        "-1",
        "inf",
        "nan",
        "1e9",
        "9" * 400,
        "Mon, 99 Foo 9999999 00:00:00 GMT",
        "٣",
    ):
        assert retry_after_s(wrong) is None, wrong


def test_a_key_from_a_file_loses_its_line_end_and_no_other_is_shown() -> None:
    assert checked_key("abc\n", "the key") == "abc"
    assert checked_key("  ", "the key") is None
    for key in ("a\r\nHost: evil", "schlüssel", "a b"):
        with pytest.raises(UsageError) as caught:
            checked_key(key, "the key")
        assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ""),
        ({"http_proxy": "http://p:1"}, "http_proxy"),
        ({"HTTP_PROXY": "http://p:1", "ALL_PROXY": "socks5://p:2"}, "ALL_PROXY, HTTP_PROXY"),
        ({"https_proxy": "http://p:1"}, ""),
        ({"http_proxy": "http://p:1", "no_proxy": "127.0.0.1"}, ""),
        ({"http_proxy": ""}, ""),
    ],
)
def test_proxies_that_are_not_used_are_named(
    monkeypatch: pytest.MonkeyPatch, start: Start, environment: dict[str, str], names: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fake = start(JSON + b"\r\n{}")
    assert unused_proxies(fake.address) == names
    assert request("GET", fake.address, "/health").status == 200


def test_the_keepers_modules_have_no_second_http_client() -> None:
    package = Path(__file__).parents[2] / "pytest_llmperf"
    users = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(
            r"^\s*(import|from) (http\.client|urllib\.request|requests|httpx)\b",
            path.read_text(),
            re.MULTILINE,
        )
    }
    assert users == {"serving/http_client.py"}


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_interim_responses_are_skipped(start: Start, interim: bytes, times: int) -> None:
    fake = start(interim * times + JSON + b"Content-Length: 8\r\n\r\n" + b'{"a": 1}')
    response = request("GET", fake.address, "/v1/models")
    assert (response.status, response.json()) == (200, {"a": 1})


ECHOES = {
    "a body": JSON.replace(b"200 OK", b"401 X") + b'\r\n{"error": {"message": "Incorrect API key: %s"}}',
    "a page": b"HTTP/1.1 404 X\r\n\r\n<pre>Cannot GET /v1/models?sig=%s</pre>",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
def test_a_secret_that_the_server_repeats_is_not_shown(start: Start, echo: bytes) -> None:
    fake = start(echo % b"tops%2Bcret")
    address = Address.parse(f"{fake.address}?sig=tops%2Bcret")
    assert "tops" not in request("GET", address, "/v1/models").says
    fake = start(echo % b"the-key-itself")
    assert "the-key" not in request("GET", fake.address, "/v1/models", api_key="the-key-itself").says


@pytest.mark.parametrize("secret", ["tops%2Bcret", "tops+cret"])
def test_a_secret_in_the_target_of_a_redirect_is_not_shown(start: Start, secret: str) -> None:
    fake = start(f"HTTP/1.1 308 X\r\nLocation: https://h/v1/models?sig={secret}\r\n\r\n".encode())
    text = failure(Address.parse(f"{fake.address}?sig=tops%2Bcret"))
    assert "redirects to 'https://h/v1/models?sig=…'" in text


@pytest.mark.parametrize("error", [LlmperfError(), LlmperfError("\n"), StartError(""), StartError("\n \nx")])
def test_an_error_without_a_text_has_a_first_line(error: LlmperfError) -> None:
    line = first_line(error)
    assert line in (type(error).__name__, "x")
    assert line.strip()
