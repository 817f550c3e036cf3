"""A load against its device: joules by token, and the share of the device's limit that was reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import InfrastructureError, first_line
from pytest_llmperf.load.device_limits import limits_of, measured_limits
from pytest_llmperf.load.results import Metrics
from pytest_llmperf.load.roofline import Roofline, roofline_of
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.served import Served


@dataclass(frozen=True)
class OnDevice:
    """Figures of each round of one model at one concurrency, in their order; None: not known."""

    energy_j: Sequence[float | None]
    """Energy of the whole device from the round's first request to its last token, other processes included."""
    tokens: Sequence[int | None]
    share: Sequence[float | None]
    """Output tokens a second by the most that the device's bandwidth and arithmetic allow."""
    no_share: str
    """Why no share is known; empty if it is."""
    shared_because: str = ""
    """Why the device's energy is not of these requests alone; empty if it is."""

    def shared(self, because: str) -> OnDevice:
        """The same rounds without figures, since other requests ran beside them."""
        none = [None] * len(self.tokens)
        return OnDevice(none, none, none, because, because)

    @property
    def joules_per_token(self) -> list[float | None]:
        pairs = zip(self.energy_j, self.tokens, strict=True)
        return [energy / tokens if energy is not None and tokens else None for energy, tokens in pairs]

    @property
    def no_energy(self) -> str:
        """Why no energy is known; empty if that of any round is."""
        if self.shared_because:
            return self.shared_because
        return (
            "" if any(value is not None for value in self.joules_per_token) else "no device tells its energy"
        )


def on_device(
    devices: Devices,
    row: str,
    limit: Roofline | str,
    concurrency: int,
    runs: Sequence[LoadRun],
    rounds: Sequence[Metrics],
) -> OnDevice:
    """Energy and share of the limit of these rounds of ``row``."""
    energy = [devices.energy_between_j(row, run.start_s, run.end_s) for run in runs]
    tokens = [metrics.output_tokens for metrics in rounds]
    rates = [count / run.window_s if count else None for run, count in zip(runs, tokens, strict=True)]
    if isinstance(limit, str):
        return OnDevice(energy, tokens, [None] * len(runs), f"the device's limit is unknown: {limit}")
    # Each request has its prompt in the cache from the first token on, and half of its answer on average.
    context = [run.workload.input_tokens + run.workload.output_tokens // 2 for run in runs]
    shares = [
        None if rate is None else rate / limit.throughput(concurrency, tokens_before)
        for rate, tokens_before in zip(rates, context, strict=True)
    ]
    return OnDevice(energy, tokens, shares, "")


def limit_of(served: Served, device_name: str, bandwidth: Callable[[Served], float | str]) -> Roofline | str:
    """The limit of a row on the device that NVML calls so, or why it is not known.

    ``bandwidth`` is asked for the device's bytes a second where no data sheet is known.
    """
    if not served.model.gpus:
        return "the row uses no GPU"
    if not served.engine.is_started:
        return "nothing is known of the machine behind a URL"
    limits = limits_of(device_name)
    if limits is None:
        found = bandwidth(served)
        if isinstance(found, str):
            return f"no data sheet of {device_name} is known, and {found}"
        limits = measured_limits(device_name, found)
    try:
        directory = served.weights.directory
    except InfrastructureError as error:
        return first_line(error)
    return roofline_of(served.model, directory, limits)
