"""ASGI middleware for vLLM: servers that ignore what a reply was told to look like, as an upgrade may without a word.

``--middleware tests.fakes.drops_form.drop_response_format`` ignores the form of every request, and
``drop_for_formless`` both form and tools of requests to the name :data:`FORMLESS`, so that a sound row and a faulty one
can share a server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
FORMLESS = "formless"
"""The served name whose requests lose form and tools."""


class _DropFields:
    def __init__(self, app: App) -> None:
        self.app = app

    def dropped(self, fields: dict[str, Any]) -> set[str]:
        """Names of the fields that a request loses."""
        raise NotImplementedError

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/chat/completions"):
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        fields = json.loads(body)
        dropped = self.dropped(fields)
        changed = json.dumps({name: value for name, value in fields.items() if name not in dropped}).encode()
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(changed)).encode()))
        given = [{"type": "http.request", "body": changed, "more_body": False}]

        async def receive_changed() -> Message:
            return given.pop() if given else await receive()

        await self.app({**scope, "headers": headers}, receive_changed, send)


class drop_response_format(_DropFields):
    def dropped(self, fields: dict[str, Any]) -> set[str]:
        return {"response_format"}


class drop_for_formless(_DropFields):
    def dropped(self, fields: dict[str, Any]) -> set[str]:
        return {"response_format", "tools", "tool_choice"} if fields.get("model") == FORMLESS else set()
