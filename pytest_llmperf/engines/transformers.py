"""Transformers' own server, ``transformers serve``, started through ``transformers_server.py``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import (
    NEUTRAL_SAMPLING,
    Capability,
    Engine,
    SamplingDefaults,
    known_failure,
)
from pytest_llmperf.engines.probe import PORT
from pytest_llmperf.engines.vllm_arguments import value_of


class Transformers(Engine):
    """``engine = "transformers"``."""

    name = "transformers"
    distributions = ("transformers",)
    install = "install it there: pip install 'transformers[serving]' accelerate; or set engine_python in models.toml"
    refuses_guests = (
        "transformers' server serves one model under one name (5.19); use vLLM, or merge the adapter into weights of a "
        "row of its own"
    )
    # It ignores prompt_logprobs, has no /metrics, and answers 422 to fields that it does not know (5.19).
    capabilities: Mapping[Capability, bool] = {"prompt_logprobs": False, "metrics": False}
    known_failures = (
        known_failure(
            "transformers' own needs",
            r"requires `accelerate`|Missing dependencies for serving",
            "the interpreter has transformers, and not what its server needs",
            "install it there: pip install 'transformers[serving]' accelerate",
        ),
    )

    def command(self, model: Model, weights: str) -> Sequence[str]:
        argv = [
            model.engine_python or sys.executable,
            # Without -P, the modules beside the script would shadow the engine's own.
            "-P",
            str(Path(__file__).with_name("transformers_server.py")),
            "--model",
            weights if model.revision is None else f"{weights}@{model.revision}",
            *("--host", "127.0.0.1", "--port", PORT, "--served-model-name", model.served),
            *("--generation-config", model.generation_config),
            *("--device", "auto" if model.gpus else "cpu"),
            *("--dtype", {"half": "float16", "float": "float32"}.get(model.dtype, model.dtype)),
        ]
        if model.quantization is not None:
            argv += ["--quantization", model.quantization]
        return [*argv, "--trust-remote-code"] if model.trust_remote_code else argv

    def sampling_defaults(self, model: Model) -> SamplingDefaults:
        named = value_of(model.arguments, "--generation-config")
        source = named or (None if model.generation_config == "neutral" else "auto")
        # transformers' own default (GenerationConfig, 5.19) where it reads the weights' file.
        values = {**NEUTRAL_SAMPLING, "top_k": 50} if source == "auto" else NEUTRAL_SAMPLING
        return SamplingDefaults(values, None if source == "vllm" else source)


ENGINE = Transformers()
