"""The types of a record: one run of pytest-llmperf as it is written to ``NAME.json``.

All numbers are finite. What is not known is null or absent. Hooks and later versions may add keys; the keys named here
keep their meaning. Lists are tuples, so that a record can be shared between readers.

Importing this module imports pydantic (about 50 ms): import it inside functions, or for types only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pytest_llmperf.gates.run_verdict import RunVerdict, run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.json_values import Json
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.redaction import sound
from pytest_llmperf.record.verdict_json import verdict_from_json

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Ends = tuple[float | None, float | None]
"""Lower and upper end of an interval; None where an end is infinite or the data are too few."""
Series = tuple[float | None, ...]


def required(description: str) -> Any:
    return Field(description=description)


def optional(description: str, default: object = None) -> Any:
    return Field(default, description=description)


def several(description: str) -> Any:
    """A list, empty by default."""
    return Field((), description=description)


def mapping(description: str) -> Any:
    """An object with keys of its own, empty by default."""
    return Field(default_factory=dict, description=description)


class Part(BaseModel):
    """Whatever has named keys. Values are not converted: a number in quotes is an error."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,
    )

    def as_json(self, but: Set[str] = frozenset()) -> dict[str, Json]:
        """The same keys and values as in the file, as plain JSON values; without the fields ``but``."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=set(but))


# The run


class RunOutcome(Part):
    status: Status
    green: bool = required("whether nothing was red; false while the run has not ended")
    green_by_itself: bool = optional("the same without the comparison with a promoted reference", True)
    inconclusive: Literal["fail", "warn", "exit"] = optional("what INCONCLUSIVE does to the run", "fail")
    problems: tuple[str, ...] = several("why the run as a whole is INVALID")
    failures: tuple[str, ...] = several("why the run as a whole is FAIL: worse than its reference")
    notes: tuple[str, ...] = several("waivers that end soon, can go, or match no test")
    checks: Count = optional("tests that passed by plain assertions about a model, without a gate", 0)
    deselected: Count | None = optional("tests that were collected and left out")
    bad_data: bool = optional(
        "whether a data set could not be asked, so that the run ends with exit code 4", False
    )


class SizesEntry(Part):
    items: int | None = optional("items of an accuracy task at most")
    variant_items: int | None = optional("items for each further prompt variant")
    quality_items: int | None = optional("summaries, and conversations of each length")
    documents: int | None = optional("texts of a perplexity")
    fidelity_answers: int | None = optional("answers of the baseline that both sides score")
    fidelity_tokens: int | None = optional("longest of them, in tokens")
    in_flight: int | None = optional("requests in flight while answers are collected, at first")
    most_in_flight: int | None = optional("requests in flight while answers are collected, at most")
    rounds: int | None = optional("rounds of a load on each side")
    starts: int | None = optional("pairs of starts of both servers that a comparison of speed takes")
    prompt_tokens: int | None = optional("tokens of each prompt of a load")
    answer_tokens: int | None = optional("tokens of each answer of a load")
    workers: int | None = optional("client processes of a load; null: as many as it needed")
    requests: int | None = optional("requests of a load on a schedule")
    cost_items: int | None = optional("items that costs are measured over")
    energy_items: int | None = optional("items that energy is measured over, at least")


class DeviceEntry(Part):
    class_: str | None = Field(None, alias="class", description="as budgets.toml calls it: H100, CPU")
    name: str = required("as NVML names it; CPU without a GPU")


class EarlierLook(Part):
    file: str = required("name of the record")
    sha256: Sha256 = required("of the record")


class Gpu(Part):
    uuid: str | None = optional("as CUDA_VISIBLE_DEVICES takes it")
    name: str | None = None
    total_bytes: Count | None = None


class Commit(Part):
    commit: str | None = None
    changed: bool | None = optional("whether tracked files differ from it")
    diff_sha256: Sha256 | None = optional("of the difference, if there is one (git diff HEAD)")


class Environment(Part):
    plugin: str | None = optional("version of pytest-llmperf")
    pytest: str | None = optional("version")
    python: str | None = optional("version")
    system: str | None = optional("kernel and architecture")
    cpu: str | None = optional("model of the processor")
    cpus: Count | None = optional("processors available to this run")
    gpus: tuple[Gpu, ...] = several("visible devices")
    driver: str | None = optional("version of the NVIDIA driver")
    cuda: str | None = optional("newest version that the driver supports")
    git: Commit | None = optional("commit of the repository that holds the suite")


class Suite(Part):
    sha256: Sha256 | None = optional("of tests, conftest.py files and catalogues together")
    files: tuple[str, ...] = several("paths below the rootdir")
    tests: tuple[str, ...] = several("node ids of all collected tests that use a model, in their order")


class ShardEntry(Part):
    number: Positive = required("from 1")
    of: Positive = required("number of shards of the run")
    suite: Suite = required("files and tests of the whole run, those of other shards included")
    cut_tests: tuple[str, ...] = several(
        "node ids of tests of which every shard asks a part of the items (--llmperf-shard-items)"
    )


class MergedShard(Part):
    number: Positive = required("from 1")
    file: str = required("name of its record")
    sha256: Sha256 = required("of its record")


class RunTest(Part):
    test: str = required("node id")
    outcome: Literal["passed", "failed", "skipped", "error", "not run"] = required(
        "how the test itself ended; not whether it judged anything"
    )
    seconds: float | None = optional("set-up, call and teardown of all tries together")
    tries: Count | None = optional("how often it ran; a gate counts once, with the judgement of the last try")
    candidate: str | None = optional("entry that it was repeated for; null where tests are not repeated")


class EventEntry(Part):
    time: str = required("UTC, ISO 8601")
    text: str = required("one line, as shown in the terminal at the end of the run")


class TableFile(Part):
    file: str = required("name of the file, beside the record")
    sha256: Sha256 | None = required("of the file; of nothing where there is no row, and so no file")
    count: Count = required("rows")


class Promoted(Part):
    date: str | None = optional("UTC")
    note: str | None = None


# Servers and what they were sent


class MilestonesEntry(Part):
    weights_loaded_s: float | None = optional("reading the weights")
    model_loaded_s: float | None = optional("loading the whole model, weights included")
    model_bytes: float | None = optional("device memory of the weights")
    kv_cache_bytes: float | None = optional("device memory of the key-value cache")
    kv_cache_tokens: Count | None = optional("capacity of the key-value cache")
    engine_init_s: float | None = optional("profiling, cache allocation and warm-up")
    graphs_captured_s: float | None = optional("capturing CUDA graphs")
    compiled_from_cache: bool | None = optional(
        "no graph was compiled: all were taken from the engine's cache"
    )
    graphs_bytes: float | None = optional("device memory of CUDA graphs")
    activation_bytes: float | None = optional("peak of one step of the largest size, as profiled")
    non_torch_bytes: float | None = optional("memory of CUDA, NCCL and others beside PyTorch")
    desired_bytes: float | None = optional(
        "device memory times the entry's fraction: what the engine may fill"
    )


class ServerEntry(Part):
    row: str
    weights: str | None = optional("as named in the catalogue")
    revision: str | None = optional("as pinned in the catalogue")
    weights_commit: str | None = optional("commit of the hub, in the cache")
    weights_sha256: Sha256 | None = optional("over all weight files")
    weights_told_by: Literal["content", "samples", "headers"] | None = optional(
        "what the checksum covers: samples of every tensor where a file is too large to be read"
    )
    files: dict[str, str] = mapping(
        "by the text in the arguments or the environment that names a file, directory or hub model: its checksum"
    )
    template_sha256: Sha256 | None = optional("of the chat template")
    engine: str | None = optional("name and version")
    arguments: tuple[str, ...] | None = optional("from the catalogue")
    dtype: str | None = None
    quantization: str | None = None
    max_model_len: Count | None = None
    sampling_seed: int | None = optional("sent with every request")
    command: str | None = optional("command that starts the server by hand")
    ready_s: float | None = optional("start of the process → ready; null for a server that ran already")
    weights_in_page_cache: float | None = optional(
        "share of the weight files that was in memory before the first start; null: not known"
    )
    crashes: Count | None = optional(
        "how often it died and was restarted; data of one life are not judged then"
    )
    every_ready_s: Series = several("of every start except those after a crash")
    every_gpus: tuple[tuple[str, ...], ...] = several("UUIDs of the GPUs of each of these starts")
    server_of: str | None = optional("the row whose server serves this one; null for a server of its own")
    adapter: str | None = optional("the LoRA adapter, as named in the catalogue; its checksum is in files")
    milestones: MilestonesEntry | None = optional(
        "durations of the last start and its memory, from the server's log"
    )


class SamplingParameter(Part):
    value: Any = required("null: no limit, drawn, none, or unknown")
    from_: str = Field(
        alias="from",
        description="request, generation_config.json of the weights, engine argument, engine default, unknown",
    )


class SamplingEntry(Part):
    row: str
    what: str = required("task and prompt variant, or load")
    parameters: dict[str, SamplingParameter] = required(
        "temperature, top_p, top_k, min_p, the three penalties, max_tokens, seed, stop"
    )


class PromptFinding(Part):
    rule: str
    says: str = required("about the first prompt that has it")
    item: str = required("the first prompt that has it")
    items: Positive = required("prompts that have it")


class PromptsEntry(Part):
    row: str
    task: str
    variant: str = required("prompt variant")
    rendered_by: str | None = optional(
        "template: the weights' chat template; protocol: no template is needed; server: its rendering of the first chat"
    )
    not_rendered: str | None = optional("why no template is known")
    count: Count = required("prompts whose text is known")
    sha256: Sha256 | None = required("of their texts in UTF-8, each after its length (8 bytes, big-endian)")
    example: str | None = optional("text of the first prompt")
    example_item: str | None = optional("item of the first prompt")
    same_on_server: bool | None = optional(
        "whether the server makes the same tokens of the first chat (without /tokenize: as many)"
    )
    longest_tokens: Count | None = optional("tokens of the longest prompt that was counted")
    counted_by: str | None = optional("server, or tokenizer (the weights' own)")
    limit_tokens: Count | None = optional("limit of prompt and answer together")
    findings: tuple[PromptFinding, ...] = required(
        "faults that the entry accepts, or for which the task was not asked"
    )


# Answers


class PerCorrectEntry(Part):
    value: float
    low: float = required("of the 95 % interval")
    high: float = required("of the 95 % interval")
    n: Count = required("items")


class AnswersEntry(Part):
    row: str
    task: str
    variant: str = required("prompt variant")
    data: str | None = optional("name and version of the data")
    items_sha256: Sha256 | None = optional("of questions and expected answers, in their order")
    source_sha256: Sha256 | None = optional("the same of all items that the task has, in the run's order")
    before: Count = optional("items of the task that earlier looks asked", 0)
    order_seed: int | None = optional("seed of the order of the items")
    requests: str | None = optional("fingerprint of all requests")
    items: Count = required("items that were asked")
    slice: str | None = optional(
        "I/N where only the items of this shard were asked (--llmperf-shard-items); null: all that were planned, or as "
        "many as the gates needed"
    )
    samples: Positive = optional("answers to each item", 1)
    seeds: tuple[int, ...] = several("sent with the requests, each once")
    planned: Count = optional("items that could have been asked", 0)
    reused: Count | None = optional("answers taken over from an interrupted run")
    outcomes: dict[str, Count] = mapping("outcome → number of answers")
    completion_tokens: Count | None = None
    seconds: float | None = optional("wall time of asking")
    tokens_per_answer: float | None = optional("mean; null where the server counted none")
    tokens_per_correct: PerCorrectEntry | None = optional(
        "tokens of all answers over correct answers; null without any"
    )
    seconds_per_correct: PerCorrectEntry | None = optional(
        "server seconds of all answers over correct answers; depends on the load at which they were collected"
    )
    incomplete: Share | None = optional("share of the answers that reached the limit before they ended")
    unboxed: Share | None = optional("share without a final answer in a box")
    loops: dict[str, float | None] = mapping("temperature → share that repeat themselves to the end")
    empty: Share | None = optional("share that show a user nothing, after their thinking")
    leaked: Share | None = optional(
        "share that show a user special tokens, tags of a thinking or labels of turns"
    )
    refused: Share | None = optional("share that say that the model will not answer, or were filtered")
    language_switches: Share | None = optional("share in another language than the question's")

    @property
    def key(self) -> tuple[str, str, str]:
        return self.row, self.task, self.variant


class AnswersReused(Part):
    count: Count
    oldest: float | None = optional("when the oldest of them came, seconds since 1970")


class DepthEntry(Part):
    facts: Count = required("facts that this part of the prompts states, of all replies that came")
    right: Count = required("those that the replies gave back")


class LongAnswersEntry(Part):
    row: str
    what: str = required(
        "summaries, summaries NAME of articles, conversations N tokens, or needles (variables, …) N tokens"
    )
    tokens: Count | None = optional("tokens that a generated prompt was to have")
    data: str = required("generated, or name and version of the data")
    items_sha256: Sha256 | None = optional("of the articles as they were cut, in their order")
    counted: bool | None = optional(
        "whether the server's tokenizer cut the articles; else lengths are estimated"
    )
    prompts: Count = required("prompts that there are")
    asked: Count = required("prompts that were asked")
    errors: Count = required("answers lost to the infrastructure")
    longest_prompt: Count | None = required("tokens of the longest prompt, as counted by the server")
    completion_tokens: Count | None = required(
        "of all replies, thinking included; null if one was not counted"
    )
    seconds: float = required("wall time")
    depths: tuple[DepthEntry, ...] = several(
        "for each fifth of the prompts, from their start; empty where facts have no place"
    )


class PerplexityEntry(Part):
    row: str
    texts: str = required("name of the texts")
    data: str | None = optional("name and version of the data")
    items_sha256: Sha256 | None = optional("of the documents, in their order")
    documents: Count | None = optional("documents that were sent")
    errors: Count | None = optional("documents without a score")
    tokens: Count | None = optional("tokens that were scored")
    log_probability: float | None = optional("sum over the scored tokens, natural logarithm")
    seconds: float | None = optional("wall time")


class FidelityEntry(Part):
    row: str = required("the entry that is compared")
    baseline: str = required("the entry whose answers were scored")
    look: str = required("how the scores were made: first, again (other batches), alone, decoded")
    task: str = required("name of the task")
    data: str | None = optional("name and version of the data")
    items_sha256: Sha256 | None = optional("of the items, in their order")
    sampling: str = required("how the answers were drawn: T = 1 or greedy")
    answers: Count | None = optional("answers that were asked for")
    errors: Count | None = optional("answers without a score of both sides")
    tokens: Count | None = optional("tokens of the answers that both sides scored")
    k3: float | None = optional("divergence per token, nats: mean of r − 1 − log r")
    k1: float | None = optional("divergence per token, nats: mean of − log r, noisier and without a sign")
    rms_probability_change: float | None = optional("root mean square change of the token's probability")
    cached_tokens: Count | None = optional("prompt tokens that were found in the prefix cache (look warm)")
    identical_share: Share | None = optional("tokens whose log probability is the same to the last bit")
    rank_1_share: Share | None = optional("tokens that are the most likely ones to the compared entry")
    answering_s: float | None = optional("wall time of the baseline's answers")
    scoring_s: float | None = optional("wall time of the compared entry's scores")


# Loads


class WorkloadEntry(Part):
    input_tokens: Count | None = optional("of each rendered prompt")
    output_tokens: Count | None = optional("of each answer, or their limit")
    fixed_output: bool | None = optional("whether answers have exactly that length")
    chat: bool | None = optional("true: /v1/chat/completions, false: /v1/completions")
    unique: bool | None = optional(
        "whether every prompt begins with its own number, unknown to any prefix cache"
    )
    warm_cache: bool | None = optional("whether hits in the prefix cache are wanted")
    usage_per_chunk: bool | None = optional("whether the server counts tokens in every chunk")
    seed: int | None = optional("of the prompts' words")
    sampling: dict[str, JsonValue] = mapping("further fields of every request")
    given: str | None = optional("description of a given set of prompts; null for generated ones")


class RoundEntry(Part):
    requests: Count = optional("requests that were sent", 0)
    errors: dict[str, int] = mapping("outcome → failed requests")
    window_s: float | None = optional("first sending → last end")
    ttft_s: Series = several("one a request")
    tpot_s: Series = several("one a request")
    e2el_s: Series = several("one a request")
    output_tokens: Count | None = optional("of all requests that succeeded, as counted by the server")
    client_cpu_share: float | None = optional("of one core; near 1, the client is what was measured")
    client_late_share: float | None = optional(
        "share of the round in which the client's loop was late to its timers; above 0.25 the round is taken out"
    )
    clumped_share: Share | None = optional(
        "share of the tokens that arrived together with the one before; above 0.25 times per token are not judged"
    )
    taken_out: str | None = optional("why the round is not judged (client or server stood still)")
    one_sided: bool | None = optional(
        "whether the other side of the comparison had no round beside it, since only limits of this side needed it"
    )
    energy_j: float | None = optional("energy of the devices within the round")
    roofline_share: float | None = optional("throughput over the device's limit")
    totals: dict[str, tuple[float, float]] = mapping(
        "metric that is a ratio of totals (acceptance_length) → numerator and denominator"
    )


class Tail(Part):
    value: float = required("seconds")
    low: float | None = optional("lower bound, one-sided 95 %; null: too few samples")
    high: float | None = optional("upper bound, one-sided 95 %; null: too few samples")
    n: Count = required("samples")


class ErrorKind(Part):
    kind: str = required("outcome, and HTTP status")
    count: Count = required("failed requests")
    first: str | None = optional("message of the first")


class MeanAndMax(Part):
    mean: float | None = None
    max: float | None = None


class ServerMetricsEntry(Part):
    samples: Count | None = optional("scrapes")
    running: MeanAndMax | None = optional("requests that the engine works on")
    waiting: MeanAndMax | None = optional("requests in its queue")
    kv_share: MeanAndMax | None = optional(
        "share of the key-value cache in use; of several engines the fullest"
    )
    preemptions: float | None = optional("between the first scrape and the last")
    scrape_s: MeanAndMax | None = optional("seconds that a scrape took")


class SteadyState(Part):
    method: str = required("how it is detected")
    found: bool = required("whether there is a steady state")
    why: str = required("why there is none; empty if there is one")
    from_s: float | None = optional("begin, after the run's")
    to_s: float | None = optional("end, after the run's begin")
    before: Count | None = optional("requests sent before it")
    requests: Count | None = optional("requests sent within it")


class LoadEntry(Part):
    row: str
    concurrency: Count | None = optional("requests in flight; null for a load on a schedule")
    purpose: str | None = optional("rounds, open loop, conversations, sweep or max rate")
    start: Positive | None = optional(
        "number of the pair of starts, where there are several (--llmperf-starts)"
    )
    order_seed: int | None = optional(
        "what the order of the sides in each round of a comparison was drawn from"
    )
    workers: Positive | None = optional("client processes, the most in any round")
    schedule: str | None = optional("arrivals of an open loop, in words; null for a closed one")
    rate: float | None = optional("intended requests a second of an open loop; null for a closed one")
    workload: WorkloadEntry = optional("shape of the requests", WorkloadEntry())
    rounds: tuple[RoundEntry, ...] = required(
        "in the order of time; one for a load on a schedule, several for recorded sessions"
    )
    tails: dict[str, dict[str, Tail]] = mapping(
        "ttft, ttfat, itl, tpot, stall, e2el, schedule_delay → p50, p90, p95, p99, p99.9 → value with its bounds"
    )
    error_kinds: tuple[ErrorKind, ...] = several("what failed, most frequent first")
    clumped_share: Share | None = optional("as for each round, over the whole load")
    delivered_concurrency: float | None = optional("requests in flight, mean over the window")
    server_metrics: ServerMetricsEntry | None = optional("the server's own /metrics, sampled during the load")
    steady: SteadyState | None = optional("the part of the load in which the server is in its steady state")
    roofline_unknown: str | None = optional("why the device's limit is not known; empty if it is")


class ClockErrorEntry(Part):
    concurrency: Count | None = optional("requests in flight")
    requests: Count | None = None
    ttft_mean_s: float | None = optional("error of the mean TTFT: reported minus true, as all errors")
    ttft_p99_s: float | None = optional("error of the p99 TTFT")
    ttft_worst_s: float | None = optional("largest error of one request")
    read_by_server_mean_s: float | None = optional(
        "part of ttft_mean_s before the server had read the request"
    )
    itl_mean_s: float | None = optional("error of the mean gap between tokens")
    itl_p99_s: float | None = optional("error of its p99")
    late_p99_s: float | None = optional("p99, over all chunks, of the client's timestamp minus the hand-over")
    throughput_lost: float | None = optional("1 − reported / possible")
    delivered_concurrency: float | None = optional("requests in flight, mean")
    cpu_s_per_1000_tokens: float | None = optional("processor time of the client")
    cpu_share: float | None = optional("of one core")
    lag_p99_s: float | None = optional("p99 of the lateness of the client's loop")
    true_ttft_mean_s: float | None = optional("by the server")
    true_ttft_p99_s: float | None = optional("by the server")
    true_itl_p99_s: float | None = optional("by the server")
    reported_ttft_mean_s: float | None = optional("by the client")
    reported_ttft_p99_s: float | None = optional("by the client")
    reported_itl_p99_s: float | None = optional("by the client")
    loop: str | None = optional("event loop of the client")
    errors_s: dict[str, dict[str, float]] = mapping(
        "ttft, itl, tpot, stall, e2el → p50, p90, p95, p99, p99.9 → seconds"
    )
    cycle_s: float | None = optional("what the client adds between two requests of one connection")


class CalibrationEntry(Part):
    concurrency: Count = required("requests in flight")
    failed: str | None = optional("why it could not be measured; no other key then but concurrency")
    output_tokens: Count | None = optional("of each answer")
    gap_ms: float | None = optional("between two tokens: no slower than the server's")
    workers: Count | None = optional("client processes")
    made: str | None = optional("UTC, ISO 8601")
    from_cache: bool | None = optional("whether it was measured earlier on this machine")
    attempts: Count | None = optional("times that it was measured; 0 from the cache")
    calm: bool | None = optional("whether the client had the processor to itself")
    error: ClockErrorEntry | None = optional("seconds, unless said otherwise; shares in 0..1")


class Readings(Part):
    time_s: Series = several("after the first request of the run")
    used_bytes: Series = several("memory in use")
    power_w: Series = several("mean since the reading before")
    sm_clock_mhz: Series = several("MHz")
    lowered: Series = several("NVML's bits of clocks event reasons")
    energy_j: Series = several("the device's own counter")


class TelemetryEntry(Part):
    row: str = required("the first of rows")
    rows: tuple[str, ...] = several("entries whose servers were up")
    what: str | None = optional("load, open loop, sweep, max rate, or what was asked")
    concurrency: Count | None = optional("requests in flight; null where it is not fixed")
    device: str | None = optional("NVML's number and name")
    shard: Positive | None = optional(
        "in a merged record: the shard whose clock the readings' times are on, with a zero of its own"
    )
    energy_j: float | None = optional("from begin to end")
    mean_power_w: float | None = None
    peak_bytes: float | None = optional("most memory in use")
    sm_clock_mhz: Series | None = optional("lowest and highest clock")
    lowered: dict[str, float] = mapping("reason → share of the readings at which it lowered the clocks")
    sampler_cpu_share: float | None = optional("of one core, taken by the sampling")
    readings: Readings | None = optional("column by column; null where a reading is not known")


# Results


class VerdictEntry(Part):
    """A :class:`Verdict` and its test."""

    status: Status = optional("INVALID where a record does not say", Status.INVALID)
    test: str = optional("node id", "")
    metric: str
    observed: float | None = optional("in the unit of the bound")
    interval: Ends | None = optional("the one that decided; null for an end that is infinite")
    bound: float | None = None
    n: Count = optional("items, samples or rounds", 0)
    n_needed: Count | None = optional("data that would decide an INCONCLUSIVE one")
    method: str = ""
    why: str = optional("one sentence", "")
    unit: str = optional("share, points, ratio, s, tok/s, bytes", "")
    candidate: float | None = optional("level of the candidate")
    baseline: float | None = optional("level of the baseline")
    detail: str = ""
    p_value: float | None = optional("how surprising the data are if the bound is met")
    level_unit: str = optional("unit of candidate and baseline, where it is another", "")
    origin: str = optional("where the bound was written", "")
    discordance: float | None = optional("share of the common items that the two sides answered differently")
    flips: float | None = optional("share of the pairs of answers of which exactly one is right")
    flips_interval: Ends | None = optional("two-sided 95 % interval of it")
    starts: int | None = optional(
        "pairs of starts that a ratio was taken over; null where it was over rounds"
    )
    level: float | None = optional("one-sided error of each bound at this look; null for 5 %")
    inconclusive: Literal["", "fail", "warn"] = optional(
        "what INCONCLUSIVE does by the gate's own budget; empty: what it does to the run", ""
    )
    advisory: str = optional("reason for which it never makes a run red; empty for a gate that counts", "")
    waived: str = optional("last day and reason of the waiver that lets it through; empty without one", "")

    @property
    def verdict(self) -> Verdict:
        return verdict_from_json({name: getattr(self, name) for name in VerdictEntry.model_fields})

    @property
    def gate(self) -> tuple[str, str, str]:
        """Identity of a gate across runs: test, metric and unit."""
        return self.test, self.metric, self.unit


class MetricEntry(Part):
    row: str
    metric: str = required("accuracy, ttft_p50, throughput, …")
    of: str = required("task and variant, or the load")
    value: float
    interval: Ends = optional(
        "null: too few data for that end; both, where asking stopped early", (None, None)
    )
    n: Count = required("items, requests or rounds")
    unit: str
    better: Literal["higher", "lower"]


class CostEntry(Part):
    row: str
    answers: Count = 0
    requests: Count = optional("of timed loads", 0)
    completion_tokens: Count | None = optional("of answers and timed loads; null if one was not counted")
    seconds: float = optional("of asking and loading", 0.0)
    joules: float | None = optional("of the device, where it was sampled")


class Record(Part):
    """One run. It is only ever made by :meth:`parse`."""

    schema_: Literal["llmperf-record/1"] = Field(
        alias="schema", description="name and version of this schema"
    )
    id: str | None = optional("identity of the run; a promoted copy keeps it")
    written: str = optional("when this file was written, UTC, ISO 8601", "")
    partial: str | None = optional("why the run is not complete; null for one that came to its end")
    run: RunOutcome | None = optional("outcome of the run: what its exit code and every report say")
    profile: str | None = optional("profile of the catalogue")
    sizes: SizesEntry = optional(
        "how much the profile measures; a size asked for in a call stands with its load", SizesEntry()
    )
    placement: Literal["together", "apart"] | None = optional(
        "whether candidate and baseline stood on the same GPUs, or each on its own"
    )
    device: DeviceEntry = optional("what the numbers were measured on", DeviceEntry.model_construct(name=""))
    candidates: tuple[str, ...] = several("entries that were judged")
    baseline: str = optional("entry that they were compared with", "")
    rows: dict[str, Fingerprint] = mapping(
        "entry → fingerprint of how it is served and sampled, without seeds"
    )
    content: dict[str, Fingerprint | None] = mapping(
        "entry → digest of its weights and of every file in its arguments; null where they are not on this machine"
    )
    look: Positive = optional("which look at the gates this run is; 1 unless it adds to another", 1)
    looks: Positive | None = optional("number of looks that was announced (--llmperf-looks)")
    order_seed: Count | None = optional(
        "what the order of items and rounds, the generated prompts and the sampling seeds were drawn from; "
        "--llmperf-order repeats it"
    )
    adds_to: tuple[EarlierLook, ...] = several("records whose data this run adds to, the oldest first")
    shard: ShardEntry | None = optional(
        "the part of a run that was recorded here (--llmperf-shard); null: it is whole"
    )
    shards: tuple[MergedShard, ...] = several("records that this one was merged from, in their order")
    environment: Environment = optional("what numbers depend on beside the models", Environment())
    suite: Suite = optional("what was asked", Suite())
    tests: tuple[RunTest, ...] = several("every test that asked about a model")
    servers: tuple[ServerEntry, ...] = several("entries whose server was started")
    events: tuple[EventEntry, ...] = several(
        "servers that died or were restarted, freezes, and other things to know"
    )
    sampling: tuple[SamplingEntry, ...] = several(
        "the sampling in force, by entry and task; a load counts as one"
    )
    prompts: tuple[PromptsEntry, ...] = several(
        "prompts as the models read them, checked before the first request"
    )
    answers: tuple[AnswersEntry, ...] = several("one for each entry, task and variant")
    answers_reused: AnswersReused | None = optional(
        "answers taken over from an earlier run; absent without a log"
    )
    load: tuple[LoadEntry, ...] = several("one for each entry, load and pair of starts")
    scheduled_load: tuple[LoadEntry, ...] = several(
        "loads without a fixed concurrency; each round of a sweep is one"
    )
    verdicts: tuple[VerdictEntry, ...] = several(
        "one for each asserted gate, and for each test that judged nothing"
    )
    metrics: tuple[MetricEntry, ...] = several("everything that was measured, with 95 % intervals")
    costs: tuple[CostEntry, ...] = several("what the run used, by entry")
    calibration: tuple[CalibrationEntry, ...] = several("the client's own error at each load")
    long_answers: tuple[LongAnswersEntry, ...] = several(
        "answers to long prompts: summaries, recall over turns"
    )
    perplexity: tuple[PerplexityEntry, ...] = several("log probabilities of texts")
    fidelity: tuple[FidelityEntry, ...] = several("how likely both sides find the baseline's answers")
    telemetry: tuple[TelemetryEntry, ...] = several(
        "readings of the devices, one for each measurement and device"
    )
    cases: TableFile | None = optional("the data of every gate")
    answers_file: TableFile | None = optional("every answer")
    traces_file: TableFile | None = optional("every timed request")
    tokens_file: TableFile | None = optional("the scores of every token of the baseline's answers")
    promoted: Promoted | None = optional("set in a reference: when it was promoted, and why")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The record whose JSON is ``text``. ``ValueError``, one line, names the place that does not fit."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from error

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Self:
        """The record with these fields of plain JSON values; raises as :meth:`parse` does."""
        return cls.parse(sound(json.dumps({"schema": SCHEMA, **fields}, ensure_ascii=False)))

    @property
    def judged(self) -> list[Verdict]:
        return [entry.verdict for entry in self.verdicts]

    @property
    def outcome(self) -> RunVerdict:
        """The verdict of the whole run; never green for a partial one."""
        run = self.run
        problems = [*run.problems] if run else []
        if self.partial:
            problems.append(f"the run is partial: {self.partial}")
        verdict = run_verdict(
            self.judged,
            inconclusive=run.inconclusive if run else "fail",
            problems=problems,
            failures=run.failures if run else (),
            checks=run.checks if run else 0,
        )
        return verdict if run is None or run.green == verdict.green else replace(verdict, green=False)


def _first_problem(error: ValidationError) -> str:
    """``verdicts[0].n: Input should be a valid integer, not 'x'``"""
    first = error.errors(include_url=False, include_context=False)[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    place = "".join(steps).removeprefix(".") or "the record"
    if first["type"] == "missing":
        return f"{place}: {first['msg']}"
    value = repr(first["input"])
    return f"{place}: {first['msg']}, not {value if len(value) <= 60 else f'{value[:59]}…'}"
