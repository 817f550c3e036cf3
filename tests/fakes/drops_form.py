"""ASGI middleware for vLLM (``--middleware tests.fakes.drops_form.drop_response_format``): a server that ignores the
form that is asked for, as an upgrade may without a word."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class drop_response_format:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/chat/completions"):
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        fields = {name: value for name, value in json.loads(body).items() if name != "response_format"}
        changed = json.dumps(fields).encode()
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(changed)).encode()))
        given = [{"type": "http.request", "body": changed, "more_body": False}]

        async def receive_changed() -> Message:
            return given.pop() if given else await receive()

        await self.app({**scope, "headers": headers}, receive_changed, send)
