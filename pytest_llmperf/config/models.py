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

The keys of a row are the fields of :class:`Model`, :class:`Sampling`, :class:`PromptRules` and
:class:`Damage`, and ``add_arguments``, which come after the arguments of the row that it extends. Values
with a unit are strings: ``ready_timeout = "10 min"``, ``memory_needed = "4 GiB"``. Paths are relative to the file's
directory, also those in ``arguments``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_llmperf.config.sizes import EMBEDDED, Sizes
from pytest_llmperf.config.toml_errors import nearest
from pytest_llmperf.errors import CatalogError

Engine = Literal["vllm", "transformers", "url"]
Protocol = Literal["chat", "few-shot"]
GenerationConfig = Literal["neutral", "weights"]
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
"""What is looked for in the prompts of every task before the first of them is sent (``rules/breaches.py``)."""


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters that a row is served and judged with."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Nucleus sampling: the share of the probability that is drawn from."""
    max_tokens: int = 1024
    """Longest answer, thinking included; must leave room for the prompt in ``max_model_len``."""
    seed: int = 0
    """Sent with every request, so that a run can be repeated."""
    samples: int = 1
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
    """How a row wants to be asked, and how it promises to answer."""

    protocol: Protocol = "chat"
    """``chat``: one user turn through the chat template; ``few-shot``: worked examples and a plain completion."""
    system: str | None = None
    """System message sent with every request; None: none is sent (the official use of R1 models)."""
    instruction: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """Follows every question."""
    instruction_zh: str = "请逐步推理，并将最终答案放在 \\boxed{} 内。"
    """Follows it where a suite asks in Chinese (``rules.chinese``)."""
    thinking: bool = False
    """The reply opens with reasoning that ends in ``</think>``; without that end it is incomplete."""
    temperature: tuple[float, float] = (0.0, 2.0)
    """Lowest and highest temperature that the row is meant to be used at."""
    accepts: tuple[str, ...] = ()
    """What may be found in its prompts, and is meant to be so (``["hidden-system"]``): it refuses no task, and the
    tests of the prompts themselves (``prompts.findings``) leave it out."""

    def accepted(self, finding: str) -> bool:
        """Whether a finding of that name is meant to be so."""
        return finding in self.accepts


@dataclass(frozen=True)
class Damage:
    """A planted regression: seeded noise on the weights, ``amount`` in units of each tensor's deviation."""

    seed: int
    amount: float


@dataclass(frozen=True)
class Model:
    """One row of the catalogue, with ``extends`` resolved.

    Raises nothing: a ``Model`` that exists is valid.
    """

    name: str
    profile: str
    weights: str
    """A Hugging Face id, a directory, or ``embedded:NAME`` for a model that ships with the package."""
    engine: Engine = "vllm"
    """``vllm``, and ``transformers`` (its own server): started by the run; ``url``: one that already runs."""
    revision: str | None = None
    """Commit of the weights on the hub; pin it, or a night compares two different things."""
    engine_python: str | None = None
    """Interpreter that has the engine installed; None: the one that runs pytest."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``vllm serve``, as they would be typed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the server, added to those of the run."""
    dtype: str = "auto"
    """Type of the numbers the model is loaded with: vLLM's ``--dtype``."""
    quantization: str | None = None
    """vLLM's ``--quantization``; the weights must be of that kind, or the method must quantise while loading."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens; not given: the model's own."""
    gpus: int = 1
    """GPUs that the row needs (the product of the parallel sizes); 0 on the CPU."""
    gpu_memory_fraction: float | None = None
    """Share of the GPU's memory for this server. Both sides of a comparison are up at once, and share it."""
    memory_needed_bytes: int | None = None
    """Refuse to start with less free device memory; None: the share ``gpu_memory_fraction`` of it."""
    ready_timeout_s: float = 600.0
    """How long a start may take before it counts as failed."""
    generation_config: GenerationConfig = "neutral"
    """What the server fills in where a request says nothing (``top_k``, ``min_p``, ``repetition_penalty``, …).
    ``neutral``: nothing, as ``--generation-config vllm``; ``weights``: what their ``generation_config.json`` says."""
    in_flight: int | None = None
    """Requests at a time while answers are collected; not given: as many as keep the server busy."""
    trust_remote_code: bool = False
    """Let the engine run code that comes with the weights."""
    base_url: str | None = None
    """For ``engine = "url"``: where the server already runs."""
    extra_body: bool = True
    """Whether the server takes request fields that are not OpenAI's own (``ignore_eos``, ``min_tokens``,
    ``cache_salt``, ``continuous_usage_stats``). False: loads do without them, and cannot fix the answers' length."""
    served_name: str | None = None
    """Name under ``/v1/models``; None: the row's name."""
    api_key_env: str | None = None
    """For ``engine = "url"``: environment variable that holds the API key."""
    damage: Damage | None = None
    sampling: Sampling = field(default_factory=Sampling)
    rules: PromptRules = field(default_factory=PromptRules)

    @property
    def served(self) -> str:
        """The name that requests carry in ``model``."""
        return self.served_name or self.name


@dataclass(frozen=True)
class Profile:
    """The rows that belong together, and what they say about the world."""

    name: str
    says: str
    """One line for the header of a run: what this profile's results mean, and what they don't."""
    candidate: str
    """The row that is judged where no ``--model`` is given."""
    baseline: str
    """The row that it is compared with where no ``--baseline`` is given."""
    task: str
    """The accuracy task of a suite that names none; default ``gsm8k``."""
    needs_cuda: bool
    """Whether its rows run on a GPU; false: they are judged by the budgets of the CPU, everywhere."""
    models: Mapping[str, Model]
    file: str = "models.toml"
    silence_limit_s: float = 60.0
    """How long a server may send no byte while requests wait for it; then it is taken for dead, for the whole run.

    A long prompt is given more time, and so is a server whose counters of tokens move."""
    sizes: Sizes = EMBEDDED
    """How much a run of this profile measures."""

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


def load_catalog(path: Path) -> Catalog:
    """Read ``path``. Raises :class:`CatalogError`: one line with file, section, key, value and remedy."""
    from pytest_llmperf.config.reading import read_catalog  # needs the values above

    return read_catalog(Path(path))


def choose_profile(wanted: str | None, path: Path, *, has_cuda: Callable[[], bool]) -> Profile:
    """What ``--llmperf-profile`` stands for.

    ``wanted`` is None (``gpu`` with a CUDA device, else ``embedded``), the name of a profile in the catalogue
    ``path``, or a file of the same shape as the catalogue: its only profile, else the one that the device
    asks for; ``FILE#NAME`` names one of several. ``has_cuda`` is asked only where the device decides.
    Raises :class:`CatalogError`.
    """
    catalog = load_catalog(path)
    if wanted is not None:
        is_file = wanted not in catalog.profiles and ("/" in wanted or ".toml" in wanted)
        file, _, name = wanted.partition("#") if is_file else ("", "", wanted)
        if is_file:
            catalog = load_catalog(Path(file))
        if name:
            return catalog.profile(name)
    if len(catalog.profiles) == 1:
        return next(iter(catalog.profiles.values()))
    cuda = has_cuda()
    for_device = "gpu" if cuda else "embedded"
    if for_device not in catalog.profiles:
        raise CatalogError(
            f"{catalog.path.name}: no profile {for_device!r} for a machine with{'' if cuda else 'out'} "
            f"a CUDA device; choose one of {', '.join(catalog.profiles)} with --llmperf-profile"
        )
    return catalog.profiles[for_device]
