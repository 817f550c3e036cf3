"""``models.toml`` as values: profiles, and the rows (models) that each of them holds.

The file that users edit, by example::

    [profile.embedded]
    says = "says nothing of DeepSeek-R1-Distill-Qwen-1.5B"     # shown in the header
    candidate = "distill"                                       # what --model defaults to
    baseline = "math"
    task = "embedded"                                           # accuracy task of the suites
    needs_cuda = false

    [profile.embedded.sizes]               # how much is measured; what is not given is the default
    rounds = 30
    prompt_tokens = 2048

    [profile.embedded.model.distill]
    weights = "embedded:tiny-distill"      # hub id, a directory, or a model shipped in this package
    engine = "vllm"
    dtype = "bfloat16"
    max_model_len = 2048
    arguments = ["--enforce-eager"]
    [profile.embedded.model.distill.sampling]
    temperature = 0.6

    [profile.embedded.model.distill-hot]
    extends = "distill"                    # every key not given here is distill's; tables merge key by key
    [profile.embedded.model.distill-hot.sampling]
    temperature = 1.0

    [profile.embedded.model.tuned]
    adapter_of = "distill"                 # served by distill's server; with ``alias_of`` without weights of its own
    adapter = "adapters/tuned"             # a LoRA adapter: a directory, or a hub id in the cache

The keys of a row are the fields of :class:`Model`, :class:`Sampling`, :class:`PromptRules` and
:class:`Damage`, and ``add_arguments``, which come after the arguments of the row that it extends. Values
with a unit are strings: ``ready_timeout = "10 min"``, ``memory_needed = "4 GiB"``. Paths are relative to the file's
directory, also those in ``arguments``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from pytest_llmperf.config.fields import Text, interval, quantity, within
from pytest_llmperf.config.sizes import EMBEDDED, Sizes
from pytest_llmperf.config.toml_errors import nearest
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.units import parse_quantity

Dtype = Literal["auto", "bfloat16", "float16", "half", "float32", "float"]
Protocol = Literal["chat", "few-shot"]
GenerationConfig = Literal["neutral", "weights"]
Placing = Literal["together", "apart"]
PROMPT_FINDINGS = (
    "hidden-system",
    "doubled-think",
    "closed-think",
    "bos",
    "question-altered",
    "too-long",
    "other-template",
    "template-refuses",
)
"""Mistakes that the prompts of every task are checked for before the first is sent (``prompts/violations.py``)."""
STRICT = ConfigDict(extra="forbid")


def _known_findings(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in PROMPT_FINDINGS:
            raise ValueError(f"nothing is called {name!r}{nearest(name, PROMPT_FINDINGS)}")
    return names


def _variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    for name in environment:
        if not name or "\0" in name or "=" in name:
            raise ValueError(f"{name!r} is no environment variable: it holds a NUL character, = or nothing")
    return environment


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters that a row is served and judged with."""

    __pydantic_config__ = STRICT

    temperature: Annotated[float, within(0, 2)] = 0.0
    top_p: Annotated[float, within(0, 1, above=True)] = 1.0
    """Nucleus sampling: the share of the probability that is drawn from."""
    max_tokens: Annotated[int, within(1)] = 1024
    """Longest answer, thinking included; must leave room for the prompt in ``max_model_len``."""
    seed: Annotated[int, within(0)] = 0
    """Sent with every request, so that a run can be repeated."""
    samples: Annotated[int, within(1)] = 1
    """Answers to each item, with seeds counted up from ``seed``. At temperature 0 there is one."""

    def body(self) -> dict[str, float | int]:
        """As fields of an OpenAI request body."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class PromptRules:
    """The prompts that a row is meant for, and the form of its answers."""

    __pydantic_config__ = STRICT

    protocol: Protocol = "chat"
    """``chat``: one user turn through the chat template; ``few-shot``: worked examples and a plain completion."""
    system: Text | None = None
    """System message sent with every request; None: none is sent (the official use of R1 models)."""
    instruction: Text = "Please reason step by step, and put your final answer within \\boxed{}."
    """Follows every question."""
    instruction_zh: Text = "请逐步推理，并将最终答案放在 \\boxed{} 内。"
    """Follows it where a suite asks in Chinese (``rules.chinese``)."""
    thinking: bool = False
    """The reply opens with reasoning that ends in ``</think>``; without that end it is incomplete."""
    temperature: Annotated[tuple[float, float], interval(0, 2)] = (0.0, 2.0)
    """Lowest and highest temperature that the row is meant to be used at."""
    accepts: Annotated[tuple[str, ...], AfterValidator(_known_findings)] = ()
    """Findings that are intended in its prompts (``["hidden-system"]``): they refuse no task, and the
    tests of the prompts themselves (``prompts.findings``) leave it out."""

    def accepted(self, finding: str) -> bool:
        """True if a finding of that name is intended."""
        return finding in self.accepts


@dataclass(frozen=True)
class Damage:
    """A planted regression: seeded noise on the weights, ``amount`` in units of each tensor's deviation."""

    __pydantic_config__ = STRICT

    seed: Annotated[int, within(0)]
    amount: Annotated[float, within(0, 10, above=True)]


@dataclass(frozen=True)
class Model:
    """One row of the catalogue, with ``extends`` resolved.

    Its fields declare the keys of ``[profile.NAME.model.ROW]``; ``config.catalog`` reads and checks them.
    """

    __pydantic_config__ = STRICT

    name: str
    profile: str
    weights: Text = ""
    """A Hugging Face id, a directory, or ``embedded:NAME`` for a model that ships with the package."""
    engine: Text = "vllm"
    """``vllm``, ``transformers`` (its own server), ``url`` (one that already runs), or an engine of another package."""
    revision: Text | None = None
    """Commit of the weights on the hub; pin it, or a night compares two different things."""
    engine_python: Text | None = None
    """Interpreter that has the engine installed; None: the one that runs pytest."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``vllm serve``, as they would be typed."""
    environment: Annotated[Mapping[str, str], AfterValidator(_variables)] = field(default_factory=dict)
    """Environment variables of the server, added to those of the run."""
    dtype: Dtype = "auto"
    """Type of the numbers the model is loaded with: vLLM's ``--dtype``."""
    quantization: Text | None = None
    """vLLM's ``--quantization``; the weights must be of that kind, or the method must quantise while loading."""
    max_model_len: Annotated[int, within(1)] | None = None
    """Longest prompt and answer together, in tokens; not given: the model's own."""
    gpus: Annotated[int, within(0)] = 1
    """GPUs that the row needs (the product of the parallel sizes); 0 on the CPU."""
    gpu_memory_fraction: Annotated[float, within(0, 1, above=True)] | None = None
    """Share of the GPU's memory for this server. Both sides of a comparison are up at once, and share it."""
    memory_needed_bytes: Annotated[
        int | None,
        BeforeValidator(lambda value: round(parse_quantity(value, "bytes"))),
        within(0),
        Field(alias="memory_needed"),
    ] = None
    """Refuse to start with less free device memory; None: the share ``gpu_memory_fraction`` of it."""
    ready_timeout_s: Annotated[float, quantity("s", 1.0), Field(alias="ready_timeout")] = 600.0
    """Longest time that a start may take before it counts as failed."""
    generation_config: GenerationConfig = "neutral"
    """Defaults of the server for what a request leaves out (``top_k``, ``min_p``, ``repetition_penalty``, …).
    ``neutral``: nothing, as ``--generation-config vllm``; ``weights``: what their ``generation_config.json`` says."""
    in_flight: Annotated[int, within(1)] | None = None
    """Requests at a time while answers are collected; not given: as many as keep the server busy."""
    trust_remote_code: bool = False
    """Let the engine run code that comes with the weights."""
    base_url: Text | None = None
    """For ``engine = "url"``: where the server already runs."""
    extra_body: bool = True
    """True if the server takes request fields that are not OpenAI's own (``ignore_eos``, ``min_tokens``,
    ``cache_salt``, ``continuous_usage_stats``). False: loads do without them, and cannot fix the answers' length."""
    served_name: Text | None = None
    """Name under ``/v1/models``; None: the row's name."""
    api_key_env: Text | None = None
    """For ``engine = "url"``: environment variable that holds the API key."""
    same_model_as: Text | None = None
    """Row of the same model, of which this one is another build: another engine, number format, kernel, cache. Where
    candidate and baseline are such rows, suites ask what must not differ (``@pytest.mark.llmperf_same_model``)."""
    damage: Damage | None = None
    adapter_of: Text | None = None
    """Row whose server serves this one as a LoRA adapter, under a name of its own. The row has every key of the server
    from there, and ``sampling`` and ``rules`` where it gives none."""
    adapter: Text | None = None
    """With ``adapter_of``: the adapter's directory (``adapter_config.json`` and its weights), or a hub id in the
    cache."""
    alias_of: Text | None = None
    """Row whose server and weights this one shares, under another name: what differs is ``sampling`` or ``rules``."""
    sampling: Sampling = field(default_factory=Sampling)
    rules: PromptRules = field(default_factory=PromptRules)

    @property
    def served(self) -> str:
        """The name that requests carry in ``model``."""
        return self.served_name or self.name

    @property
    def host(self) -> str | None:
        """The row whose server serves this one; None for a row with a server of its own."""
        return self.adapter_of or self.alias_of

    @property
    def server_row(self) -> str:
        """The row that starts the server of this one: :attr:`host`, or the row itself."""
        return self.host or self.name

    @property
    def shown_weights(self) -> str:
        """The weights in a few words, for people."""
        weights = self.weights.removeprefix("embedded:")
        return f"adapter {self.adapter} on {weights}" if self.adapter else weights


def same_model(first: Model, other: Model) -> bool:
    """True if two rows of a profile are builds of the same model, by ``same_model_as``."""
    return (first.same_model_as or first.name) == (other.same_model_as or other.name)


def same_server(first: Model, other: Model) -> bool:
    """True if one server that the run starts serves two rows of a profile."""
    return first.server_row == other.server_row


def same_weights_on_one_server(first: Model, other: Model) -> bool:
    """True if two different rows are names of the same weights on one server: a row and its alias, or two aliases."""
    return first.name != other.name and same_server(first, other) and first.adapter == other.adapter


@dataclass(frozen=True)
class Profile:
    """The rows that belong together, and what they say about the world."""

    __pydantic_config__ = STRICT

    name: str
    candidate: Text
    """The row that is judged where no ``--model`` is given."""
    baseline: Text
    """The row that it is compared with where no ``--baseline`` is given."""
    says: Text = ""
    """One line for the header of a run: what this profile's results mean, and what they don't."""
    task: Text = "gsm8k"
    """The accuracy task of a suite that names none."""
    needs_cuda: bool = False
    """True if its rows run on a GPU; false: they are judged by the budgets of the CPU, everywhere."""
    placement: Placing = "together"
    """Where candidate and baseline stand: ``together`` on the same GPUs, of which each has a stated share; ``apart`` on
    GPUs of their own, of one kind, which they exchange between starts."""
    models: Annotated[Mapping[str, Model], Field(alias="model")] = field(default_factory=dict)
    file: str = "models.toml"
    silence_limit_s: Annotated[float, quantity("s", 1.0), Field(alias="silence_limit")] = 60.0
    """Longest time that a server may send no byte while requests wait for it; then it counts as dead for the whole run.

    A long prompt is given more time, and so is a server whose counters of tokens move."""
    sizes: Sizes = EMBEDDED
    """Sizes of a run of this profile: items, rounds, lengths, starts."""

    def model(self, name: str) -> Model:
        """The row ``name``. Raises :class:`CatalogError` that names the nearest one."""
        if name not in self.models:
            raise CatalogError(
                f"{self.file}: [profile.{self.name}] has no model {name!r}{nearest(name, self.models)}"
            )
        return self.models[name]


@dataclass(frozen=True)
class Catalog:
    """A whole ``models.toml``."""

    path: Path
    profiles: Mapping[str, Profile]

    def profile(self, name: str) -> Profile:
        """The profile ``name``. Raises :class:`CatalogError` that names the nearest one."""
        if name not in self.profiles:
            raise CatalogError(f"{self.path.name}: no profile {name!r}{nearest(name, self.profiles)}")
        return self.profiles[name]
