"""``transformers serve`` as a run needs it: under the row's name, with a key, and with its version told.

    python -P transformers_server.py --model DIR --served-model-name NAME --port N [options of `transformers serve`]

Executed by the row's interpreter, which has transformers[serving] and need not have this package. Left to itself the
server lists what lies in the hub's cache and not what it serves, takes requests for the path of its weights only, and
asks for no key. With ``--generation-config neutral`` what a request leaves out is not filled in from the weights'
``generation_config.json``, and a request with a temperature above 0 is sampled whatever that file says.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_llmperf.json_values import Json

KEY = "LLMPERF_SERVER_KEY"
NEUTRAL = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
"""Settings of ``GenerationConfig`` that change nothing."""


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    model, arguments = taken("--model", arguments)
    name, arguments = taken("--served-model-name", arguments)
    generation, arguments = taken("--generation-config", arguments)
    from transformers.cli import transformers as command  # type: ignore[import-not-found, unused-ignore]
    from transformers.cli.serving import server, utils  # type: ignore[import-not-found, unused-ignore]

    build, resolve = server.build_server, utils.BaseHandler._resolve_model

    def build_ours(*given: Any, **named: Any) -> Any:
        app = build(*given, **named)
        app.middleware("http")(door(name, os.environ.get(KEY)))
        return app

    def resolve_ours(handler: Any, body: dict[str, Json]) -> Any:
        from fastapi import HTTPException  # type: ignore[import-not-found, unused-ignore]

        asked = body.get("model", name)
        if asked != name:
            raise HTTPException(
                status_code=404, detail=f"The model `{asked}` does not exist; this is `{name}`."
            )
        return resolve(handler, {**body, "model": model})

    if generation == "neutral":
        utils.BaseHandler._build_generation_config = neutral(utils.BaseHandler._build_generation_config)
    server.build_server = build_ours
    utils.BaseHandler._resolve_model = resolve_ours
    sys.argv = ["transformers", "serve", model, *arguments]
    command.main()


def neutral(build: Callable[..., Any]) -> Callable[..., Any]:
    """``build`` (request and weights' defaults → settings of a generation) with neutral defaults of sampling."""

    def build_ours(handler: Any, body: dict[str, Json], defaults: Any, *given: Any, **named: Any) -> Any:
        defaults = copy.deepcopy(defaults)
        for setting, value in NEUTRAL.items():
            setattr(defaults, setting, value)
        built = build(handler, body, defaults, *given, **named)
        temperature = body.get("temperature")
        built.do_sample = not isinstance(temperature, int | float) or temperature > 0.0
        return built

    return build_ours


def taken(option: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The value of an option that must be there, and the other arguments."""
    place = arguments.index(option)
    return arguments[place + 1], arguments[:place] + arguments[place + 2 :]


def door(name: str, key: str | None) -> Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]:
    """The middleware that checks the key and answers for the model's name and the version."""

    async def pass_through(request: Any, go_on: Callable[[Any], Awaitable[Any]]) -> Any:
        from fastapi.responses import JSONResponse  # type: ignore[import-not-found, unused-ignore]

        path = request.url.path
        if path == "/version":
            import transformers  # type: ignore[import-not-found, unused-ignore]

            return JSONResponse({"version": transformers.__version__})
        if path != "/health" and key and request.headers.get("authorization") != f"Bearer {key}":
            return JSONResponse({"error": {"message": "Unauthorized", "code": 401}}, status_code=401)
        if path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"}]})
        return await go_on(request)

    return pass_through


if __name__ == "__main__":
    main(sys.argv[1:])
