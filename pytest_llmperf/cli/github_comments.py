"""Comments of a pull request through GitHub's API: one of ours, made once and updated in place.

https://docs.github.com/rest/issues/comments. The token goes to the API's host alone: no redirect is followed and no
proxy of the environment used (``serving.http_client``), and an address without TLS is refused unless it is this
machine's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_llmperf.config.address import Address
from pytest_llmperf.errors import LlmperfError, RequestFailed, UsageError
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of
from pytest_llmperf.record.redaction import hide
from pytest_llmperf.serving.http_client import Response, checked_key, request

_LOCAL = ("127.0.0.1", "localhost", "::1")
_PAGE = 100
_MOST_PAGES = 50
"""Five thousand comments are read at most; a comment of ours is among the first of a pull request."""
_WAITS_S = (1.0, 4.0, 10.0)
"""Before each further try, where the API itself has failed."""


class TooLong(LlmperfError):
    """GitHub does not take the text (422)."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request of ``repository`` (``owner/name``) behind the API at ``api``."""

    api: Address
    repository: str
    number: int
    token: str = field(repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str], number: int | None = None) -> PullRequest:
        """The pull request that GitHub Actions' variables name; ``number`` in place of theirs.

        Raises :class:`UsageError` for a variable that is missing or is not what it should be.
        """
        api = Address.parse(environment.get("GITHUB_API_URL") or "https://api.github.com", "GITHUB_API_URL")
        if not api.tls and api.host not in _LOCAL:
            raise UsageError(
                f"GITHUB_API_URL {api.shown()}: the token is not sent without TLS; need https://"
            )
        repository = environment.get("GITHUB_REPOSITORY", "")
        if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", repository):
            raise UsageError(f"GITHUB_REPOSITORY is {repository!r}; need owner/name")
        token = checked_key(environment.get("GITHUB_TOKEN"), "GITHUB_TOKEN")
        if token is None:
            raise UsageError(
                "GITHUB_TOKEN is not set; in a workflow: env: GITHUB_TOKEN: ${{ secrets.GITHUB_TOKEN }}"
            )
        hide(token)
        found = number if number is not None else _number(environment)
        if found is None:
            raise UsageError(
                "this is no run of a pull request (GITHUB_REF, GITHUB_EVENT_PATH): give --pull-request NUMBER"
            )
        if found < 1:
            raise UsageError(f"the pull request is {found}; need a number, 1 or more")
        return cls(api, repository, found, token)

    def put(self, text: str, marker: str) -> str:
        """Write ``text``, which begins with ``marker``, over our comment with that marker, or as a new one.

        Only a comment that the token's own user wrote is ours: anybody may copy a marker into a comment of theirs.

        Returns ``updated`` or ``created``. Raises :class:`TooLong` for a text that GitHub does not take, and
        :class:`LlmperfError` for everything else.
        """
        marked = [each for each in self._comments() if _begins(each, marker)]
        own = self._own_name() if marked else ""
        known = next((each for each in marked if _author(each) == own), None)
        if known is not None:
            path = f"/repos/{self.repository}/issues/comments/{known['id']}"
            if self._call("PATCH", path, {"body": text}, refused=(404,)).status != 404:
                return "updated"
        self._call("POST", f"/repos/{self.repository}/issues/{self.number}/comments", {"body": text})
        return "created"

    def _own_name(self) -> str:
        """The login of the token's user, of an app with its ``[bot]``.

        ``/user`` refuses the tokens of apps (403), that of a workflow among them; GraphQL tells these. Raises
        :class:`LlmperfError` where neither does.
        """
        response = self._call("GET", "/user", refused=(403, 404))
        user = object_of(response.json()) if response.status == 200 else {}
        if not user:
            api = replace(self.api, path=self.api.path.removesuffix("/v3"))
            response = self._call(
                "POST", "/graphql", {"query": "{viewer{login}}"}, refused=(403, 404), api=api
            )
            told = object_of(response.json()) if response.status == 200 else {}
            user = object_of(object_of(told.get("data")).get("viewer"))
        name = user.get("login")
        if not isinstance(name, str) or not name:
            raise LlmperfError(
                f"GitHub, GET /user and POST /graphql: {response.status}, no login: a comment of this kind is "
                "there, and whether this token's user wrote it is not known; delete it, or give --key a new name"
            )
        return name.lower()

    def _comments(self) -> Iterator[JsonObject]:
        for page in range(1, _MOST_PAGES + 1):
            path = f"/repos/{self.repository}/issues/{self.number}/comments?per_page={_PAGE}&page={page}"
            found = list_of(self._call("GET", path).json())
            yield from map(object_of, found)
            if len(found) < _PAGE:
                return

    def _call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        refused: Sequence[int] = (),
        api: Address | None = None,
    ) -> Response:
        """One request, again after a failure of the API itself; statuses in ``refused`` are for the caller."""
        what = f"GitHub, {method} {path.partition('?')[0]}"
        for wait_s in (*_WAITS_S, None):
            try:
                response = request(method, api or self.api, path, body, api_key=self.token)
            except RequestFailed as error:
                # A new comment may have been made although its answer was lost: it is not sent again.
                if wait_s is None or method == "POST":
                    raise LlmperfError(f"{what}: {error}") from error
                self.sleep(wait_s)
                continue
            if response.status < 500 or wait_s is None:
                break
            self.sleep(wait_s)
        if response.status < 300 or response.status in refused:
            return response
        said = f"{what}: {response.status}: {response.says}"
        if response.status == 422:
            raise TooLong(said)
        raise LlmperfError(f"{said}{_REMEDIES.get(response.status, '')}")


_REMEDIES = {
    401: "; the token is not valid",
    403: "; the token may not write comments: permissions: pull-requests: write (a fork's token never may)",
    404: "; there is no such pull request, or the token may not see it",
}


def _begins(comment: JsonObject, marker: str) -> bool:
    body = comment.get("body")
    return isinstance(body, str) and body.startswith(marker) and isinstance(comment.get("id"), int)


def _author(comment: JsonObject) -> str:
    """The login of who wrote a comment; empty for an account that is gone."""
    name = object_of(comment.get("user")).get("login")
    return name.lower() if isinstance(name, str) else ""


def _number(environment: Mapping[str, str]) -> int | None:
    if found := re.fullmatch(r"refs/pull/([0-9]+)/\w+", environment.get("GITHUB_REF", "")):
        return int(found[1])
    path = environment.get("GITHUB_EVENT_PATH")
    try:
        event: Json = json.loads(Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    number = object_of(object_of(event).get("pull_request")).get("number")
    return number if isinstance(number, int) else None
