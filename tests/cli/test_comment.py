"""The comment of a pull request: made once, updated in place, cut where it must be, and never with a secret in it."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.cli import github_comments, main
from pytest_llmperf.cli.github_comments import PullRequest
from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.store import write_record
from pytest_llmperf.report.comment import LONGEST, comment_text, key_of, marker
from tests.record.test_references import RUN

TOKEN = "ghs_" + "a1b2c3d4" * 5
GATE = {
    "metric": "accuracy",
    "status": "PASS",
    "n": 100,
    "observed": 0.8,
    "interval": [0.7, None],
    "bound": 0.6,
    "method": "exact",
    "why": "accuracy is 80 %",
    "unit": "share",
    "test": "suites/test_accuracy.py::test_floor",
}
HOSTILE = "<img src=x onerror=alert(1)> @everyone `code` | [x](http://evil) <!-- --> \x1b[31m"


def recorded(path: Path, verdicts: list[dict[str, Any]], **changed: Any) -> Path:
    write_record(path, {**RUN, "verdicts": verdicts, "written": "2026-11-25T01:00:00+00:00", **changed})
    return path


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return recorded(tmp_path / "run.json", [GATE, GATE | {"status": "FAIL", "why": "accuracy is too low"}])


@dataclass
class Github:
    """A stand-in for the API: the comments of pull request 7 of ``o/r``, and the requests that came."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Statuses and bodies that stand in for the next answers to POST and PATCH."""
    failing: list[int] = field(default_factory=list)
    """Statuses of the next answers to any request."""
    longest: int = 65_536
    login: str = "ci-user"
    """Of the token's user; ``…[bot]`` for an app, which GraphQL alone tells."""
    url: str = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.failing:
            return self.failing.pop(0), {"message": "Server Error"}
        place, _, query = path.partition("?")
        if (method, place) == ("GET", "/user"):
            if self.login.endswith("[bot]") or not self.login:
                return 403, {"message": "Resource not accessible by integration"}
            return 200, {"login": self.login}
        if (method, place) == ("POST", "/graphql"):
            return 200, {"data": {"viewer": {"login": self.login} if self.login else None}}
        if method == "GET" and place == "/repos/o/r/issues/7/comments":
            page = int(query.rpartition("page=")[2])
            return 200, self.comments[(page - 1) * 100 : page * 100]
        if self.answers:
            return self.answers.pop(0)
        if len(body.get("body", "")) > self.longest:
            return 422, {"message": "Validation Failed", "errors": ["body is too long"]}
        if method == "POST" and place == "/repos/o/r/issues/7/comments":
            self.comments.append({"id": len(self.comments) + 1, "user": {"login": self.login}, **body})
            return 201, self.comments[-1]
        if method == "PATCH" and place.startswith("/repos/o/r/issues/comments/"):
            found = [each for each in self.comments if each["id"] == int(place.rpartition("/")[2])]
            if found:
                found[0].update(body)
                return 200, found[0]
        return 404, {"message": "Not Found"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Github]:
    github = Github()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else {}
            github.requests.append((self.command, self.path))
            github.tokens.add(self.headers.get("Authorization", ""))
            status, answer = github.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/stolen")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    github.url = f"http://127.0.0.1:{server.server_port}"
    for name in ("GITHUB_REF", "GITHUB_EVENT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setattr(github_comments, "_WAITS_S", (0.0, 0.0, 0.0))
    yield github
    server.shutdown()
    thread.join()
    server.server_close()


def post(record: Path, *more: str) -> int:
    return main(["comment", str(record), "--post", "--pull-request", "7", *more])


def test_a_comment_is_made_once_and_then_updated_in_place(
    api: Github, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert post(record) == 0
    assert "created the comment on o/r#7" in capsys.readouterr().out
    assert post(recorded(tmp_path / "next.json", [GATE])) == 0
    assert "updated the comment on o/r#7" in capsys.readouterr().out
    [comment] = api.comments
    assert "PASS:" in comment["body"].splitlines()[1]
    assert api.tokens == {f"Bearer {TOKEN}"}


def test_comments_of_two_keys_stand_side_by_side(api: Github, record: Path) -> None:
    assert [post(record, "--key", key) for key in ("a", "b", "a")] == [0, 0, 0]
    assert len(api.comments) == 2


def test_a_comment_is_found_behind_pages_of_others(api: Github, record: Path) -> None:
    api.comments = [{"id": number, "body": "hm"} for number in range(1, 251)]
    api.comments[230] |= {
        "body": comment_text(read(record), key_of(read(record))),
        "user": {"login": "ci-user"},
    }
    assert post(record) == 0
    assert [method for method, _ in api.requests] == ["GET", "GET", "GET", "GET", "PATCH"]
    assert len(api.comments) == 250


def test_a_comment_that_quotes_ours_is_not_taken_for_it(api: Github, record: Path) -> None:
    api.comments = [
        {"id": 1, "body": "> " + marker(key_of(read(record)))},
        {"id": 2, "body": None},
        {"id": 3},
    ]
    assert post(record) == 0
    assert [method for method, _ in api.requests] == ["GET", "POST"]


@pytest.mark.parametrize("login", ["ci-user", "github-actions[bot]"])
def test_a_comment_of_somebody_else_with_our_marker_is_left_alone(
    api: Github, record: Path, login: str
) -> None:
    body = comment_text(read(record), key_of(read(record)))
    strangers: list[dict[str, Any] | None] = [{"login": "mallory"}, {"login": "github-actions"}, None]
    api.login = login
    api.comments = [{"id": n + 1, "body": body, "user": user} for n, user in enumerate(strangers)]
    assert post(record) == 0
    assert post(record) == 0
    assert [each["body"] for each in api.comments[:3]] == [body] * 3
    assert [each["user"]["login"] for each in api.comments[3:] if each["user"]] == [login]
    assert [method for method, path in api.requests if "comments" in path] == ["GET", "POST", "GET", "PATCH"]


def test_a_token_whose_user_nobody_tells_updates_nothing(
    api: Github, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.login = ""
    api.comments = [
        {"id": 1, "body": comment_text(read(record), key_of(read(record))), "user": {"login": "a"}}
    ]
    assert post(record) == 4
    assert "whether this token's user wrote it is not known" in capsys.readouterr().err
    assert [method for method, _ in api.requests] == ["GET", "GET", "POST"]


def test_a_comment_that_was_deleted_meanwhile_is_made_anew(api: Github, record: Path) -> None:
    assert post(record) == 0
    api.answers = [(404, {"message": "Not Found"})]
    assert post(record) == 0
    assert [method for method, _ in api.requests][-2:] == ["PATCH", "POST"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            403,
            "403: Resource not accessible; the token may not write comments: permissions: pull-requests: write",
        ),
        (401, "401: Resource not accessible; the token is not valid"),
        (404, "404: Resource not accessible; there is no such pull request"),
    ],
)
def test_a_refusal_says_what_to_do(
    api: Github, record: Path, capsys: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    api.answers = [(status, {"message": f"Resource not accessible {TOKEN}".replace(f" {TOKEN}", "")})]
    assert post(record) == 4
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_an_error_that_repeats_the_token_does_not_show_it(
    api: Github, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers = [(403, {"message": f"bad {TOKEN}"})]
    assert post(record) == 4
    assert TOKEN not in capsys.readouterr().err


def test_an_api_that_fails_for_a_moment_is_asked_again(api: Github, record: Path) -> None:
    api.failing = [502, 503]
    assert post(record) == 0
    assert len(api.comments) == 1


def test_an_api_that_goes_on_failing_is_told(
    api: Github, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.failing = [500] * 9
    assert post(record) == 4
    assert "GET /repos/o/r/issues/7/comments: 500" in capsys.readouterr().err


def test_a_text_that_is_too_long_for_the_api_is_sent_short(api: Github, tmp_path: Path) -> None:
    api.longest = 3_000
    many = recorded(
        tmp_path / "many.json", [GATE | {"metric": f"m{n}", "status": "FAIL"} for n in range(200)]
    )
    assert post(many) == 0
    assert len(api.comments[0]["body"]) <= 2_000
    assert "more, in the record" in api.comments[0]["body"]


def test_a_redirect_is_not_followed(api: Github, record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.failing = [302] * 9
    assert post(record) == 4
    assert TOKEN not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_REPOSITORY": "o/r/../x"}, "need owner/name"),
        ({"GITHUB_REPOSITORY": ""}, "need owner/name"),
        ({"GITHUB_API_URL": "http://api.example.com"}, "the token is not sent without TLS"),
        ({"GITHUB_API_URL": "ftp://api.example.com"}, "must begin with http"),
        ({"GITHUB_REF": "refs/heads/main"}, "this is no run of a pull request"),
        ({"GITHUB_EVENT_PATH": "/nowhere"}, "this is no run of a pull request"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_sent(changed: dict[str, str], why: str) -> None:
    given = {"GITHUB_TOKEN": TOKEN, "GITHUB_REPOSITORY": "o/r", "GITHUB_API_URL": "https://api.github.com"}
    with pytest.raises(UsageError) as caught:
        PullRequest.of(given | changed)
    assert why in str(caught.value)
    assert TOKEN not in str(caught.value) + repr(caught.value)


def test_the_pull_request_is_that_of_the_workflow(tmp_path: Path) -> None:
    given = {"GITHUB_TOKEN": TOKEN, "GITHUB_REPOSITORY": "o/r"}
    assert PullRequest.of(given | {"GITHUB_REF": "refs/pull/12/merge"}).number == 12
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 13}}))
    assert PullRequest.of(given | {"GITHUB_EVENT_PATH": str(event)}).number == 13
    assert PullRequest.of(given, 14).number == 14
    assert TOKEN not in repr(PullRequest.of(given, 14))
    with pytest.raises(UsageError, match="need a number, 1 or more"):
        PullRequest.of(given, 0)


# The text


def read(path: Path) -> Record:
    return Record.parse(path.read_text())


def test_the_worst_comes_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    long = "x" * 1_900
    gates = [GATE | {"metric": f"passed {n} {long}"} for n in range(100)]
    gates += [GATE | {"metric": f"undecided {n} {long}", "status": "INCONCLUSIVE"} for n in range(100)]
    gates += [GATE | {"metric": f"failed {n} {long}", "status": "FAIL", "why": long} for n in range(100)]
    text = comment_text(read(recorded(tmp_path / "long.json", gates)), "k")
    assert 10_000 < len(text) <= LONGEST
    assert "failed 0" in text
    assert "undecided 0" not in text
    assert "more, in the record" in text


def test_model_output_is_shown_as_text_and_secrets_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret-value-1234567890")
    path = recorded(
        tmp_path / "run.json",
        [GATE | {"status": "FAIL", "why": HOSTILE, "metric": HOSTILE}],
        run={"status": "FAIL", "green": False, "notes": ["it is sk-very-secret-value-1234567890"]},
    )
    assert main(["comment", str(path)]) == 0
    text = capsys.readouterr().out
    assert "<img" not in text
    assert "@everyone" not in text
    assert "sk-very-secret" not in text
    assert main(["comment", str(path), "--chat"]) == 0
    said = json.loads(capsys.readouterr().out)["text"]
    assert "<" not in said
    assert "@everyone" not in said
    assert "http://" not in said
    assert said.startswith("FAIL: ")
    assert len(said) <= 4_000


def test_a_secret_that_markdown_writes_otherwise_is_hidden_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a record that was written elsewhere, where nobody knew the key: GitHub shows ``hf\\_…`` as ``hf_…``."""
    monkeypatch.setenv("MY_API_KEY", "a_secret*of#<this>&machine")
    path = recorded(
        tmp_path / "run.json", [GATE | {"status": "FAIL", "why": "KEY and TOKEN", "waived": "TOKEN"}]
    )
    token = "hf_" + "A1b2" * 8
    text = path.read_text().replace("KEY", "a_secret*of#<this>&machine").replace("TOKEN", token)
    path.write_text(text)
    assert main(["comment", str(path)]) == 0
    shown = html.unescape(capsys.readouterr().out).replace("\\", "")
    assert token not in shown
    assert "a_secret" not in shown
    assert "[redacted] and [redacted]" in shown


def test_a_marker_cannot_be_closed_by_its_key() -> None:
    assert marker("a --> <script> -- b") == "<!-- pytest-llmperf: a - -script- - b fa7ba0ba -->"


def test_no_two_keys_have_one_marker() -> None:
    keys = ["夜间", "白天", "a&b", "a#b", "a-b", "a--b"]
    assert len({marker(key) for key in keys}) == len(keys)
    assert marker("gpu NVIDIA H100 80GB HBM3 distill vs math").endswith(
        ": gpu NVIDIA H100 80GB HBM3 distill vs math -->"
    )
