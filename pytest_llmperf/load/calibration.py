"""The client's own error on this machine, at one concurrency.

    python -m pytest_llmperf.load.calibration --concurrency 256

The client runs against a server with a known schedule. What it reports above the truth is its own error
(with the way through the kernel and the reference server's own delay in reading, so that the error is never
understated).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.metrics import metric_named, request_metrics
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import GroundTruth, TrueRequest, running
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload, request_id
from pytest_llmperf.stats.order_statistics import quantile


@dataclass(frozen=True)
class ClientError:
    """Reported minus true, in seconds; shares in 0..1."""

    concurrency: int
    requests: int
    ttft_mean_s: float
    """Error of the mean TTFT."""
    ttft_p99_s: float
    """p99 of what is reported minus p99 of the truth."""
    ttft_worst_s: float
    """Largest error of one request."""
    read_by_server_mean_s: float
    """The part of ``ttft_mean_s`` before the server had read the request: kernel, and the server's own
    delay."""
    itl_mean_s: float
    itl_p99_s: float
    late_p99_s: float
    """p99, over all chunks, of the client's timestamp minus the time of handing over."""
    throughput_lost: float
    """1 − reported / possible, where possible is the concurrency over the server's own time per request."""
    delivered_concurrency: float
    cpu_s_per_1000_tokens: float
    cpu_share: float
    lag_p99_s: float
    true_ttft_mean_s: float
    true_ttft_p99_s: float
    true_itl_p99_s: float
    reported_ttft_mean_s: float
    reported_ttft_p99_s: float
    reported_itl_p99_s: float
    loop: str
    errors_s: Mapping[str, Mapping[str, float]]
    """Reported minus true by metric and quantile: ``errors_s["ttft"]["p95"]``."""
    cycle_s: float
    """Time that the client adds to each request, from its sending to the next one's: the client's part in lost
    throughput."""

    def error_s(self, metric: str, q: float) -> float:
        """Reported minus true of that quantile: the nearest one at or above ``q`` that is known.

        Raises ``NotMeasured`` for a metric that had no sample on the reference server.
        """
        known = self.errors_s.get(metric)
        if known is None:
            raise NotMeasured(
                f"the client's error of {metric} is unknown: it has no sample on the reference server; "
                "need from_truth to give some, or error_of"
            )
        return next((known[name] for level, name in QUANTILES if level >= q - 1e-9), known[QUANTILES[-1][1]])


QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"))


def calibrate(
    concurrency: int,
    *,
    requests: int | None = None,
    input_tokens: int = 64,
    output_tokens: int = 128,
    options: ReferenceOptions | None = None,
    workers: int = 1,
) -> ClientError:
    """Run the client at that concurrency against a reference server of its own process.

    ``requests`` None: two per worker, at least 8. Takes about three times (ttft + output_tokens · gap).
    Raises ``NotMeasured`` if requests failed, ``StartError`` if the server does not start.
    """
    count = requests or max(8, 2 * concurrency)
    workload = Workload(input_tokens=input_tokens, output_tokens=output_tokens)
    with running(options) as known:
        sending = SendOptions(request_ids=True, workers=workers)
        run = run_load(known.server, workload, ClosedLoop(concurrency, count), sending)
        told = known.truth()
    return compare(run, told)


def compare(run: LoadRun, told: GroundTruth) -> ClientError:
    """The client's error in one run. Raises ``NotMeasured`` if a request failed or has no truth."""
    by_id = {request.request_id: request for request in told.requests}
    pairs = [
        (trace, by_id[request_id(trace.index)]) for trace in run.traces if request_id(trace.index) in by_id
    ]
    if len(pairs) < len(run.traces) or any(not trace.ok or not trace.arrivals for trace in run.traces):
        failed = [trace.error for trace in run.traces if not trace.ok]
        raise NotMeasured(
            f"calibration needs every request to succeed: {len(failed)} of {len(run.traces)} failed and the "
            f"server knows {len(pairs)} of them; first error: {failed[0] if failed else 'none'}"
        )
    metrics = of_run(run)
    true_ttft = [request.ttft_s for _, request in pairs]
    itl = metric_named("itl")
    assert itl.from_truth is not None
    true_itl = [gap for _, request in pairs for gap in itl.from_truth(request)]
    errors = [trace.arrivals[0].time_s - trace.sent_s - request.ttft_s for trace, request in pairs]
    late = [
        arrival.time_s - handed
        for trace, request in pairs
        for arrival, handed in zip(trace.arrivals, request.tokens_s, strict=True)
    ]
    served = _mean([request.tokens_s[-1] - request.received_s for _, request in pairs])
    tokens = sum(sum(request.counts) for _, request in pairs)
    possible = min(run.concurrency, len(pairs)) * tokens / len(pairs) / served
    return ClientError(
        concurrency=run.concurrency,
        requests=len(pairs),
        ttft_mean_s=_mean(errors),
        ttft_p99_s=quantile(metrics.samples["ttft"], 0.99) - quantile(true_ttft, 0.99),
        ttft_worst_s=max(errors, key=abs),
        read_by_server_mean_s=_mean([request.received_s - trace.sent_s for trace, request in pairs]),
        itl_mean_s=_mean(metrics.samples["itl"]) - _mean(true_itl),
        itl_p99_s=quantile(metrics.samples["itl"], 0.99) - quantile(true_itl, 0.99),
        late_p99_s=quantile(late, 0.99),
        throughput_lost=1 - metrics.value("throughput") / possible,
        delivered_concurrency=run.delivered_concurrency,
        cpu_s_per_1000_tokens=run.client.cpu_s / tokens * 1000,
        cpu_share=run.client.cpu_share,
        lag_p99_s=run.client.lag_p99_s,
        true_ttft_mean_s=_mean(true_ttft),
        true_ttft_p99_s=quantile(true_ttft, 0.99),
        true_itl_p99_s=quantile(true_itl, 0.99),
        reported_ttft_mean_s=_mean(metrics.samples["ttft"]),
        reported_ttft_p99_s=quantile(metrics.samples["ttft"], 0.99),
        reported_itl_p99_s=quantile(metrics.samples["itl"], 0.99),
        loop=run.client.loop,
        errors_s=_errors(metrics, [request for _, request in pairs]),
        cycle_s=served * possible / metrics.value("throughput") - served,
    )


def _errors(metrics: Metrics, told: Sequence[TrueRequest]) -> dict[str, dict[str, float]]:
    """Reported minus true, by metric and quantile; metrics that the reference server never shows are absent."""
    errors: dict[str, dict[str, float]] = {}
    for metric in request_metrics():
        if metric.from_truth is None:
            continue
        true = [value for request in told for value in metric.from_truth(request)]
        # As it was seen, however wrong: that is what is to be known here.
        seen = metrics.samples[metric.name]
        if true and seen:
            errors[metric.name] = {label: quantile(seen, q) - quantile(true, q) for q, label in QUANTILES}
    return errors


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pytest_llmperf.load.calibration", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(argv)
    error = calibrate(
        given.concurrency,
        requests=given.requests,
        output_tokens=given.output_tokens,
        workers=given.workers,
    )
    for name, value in dataclasses.asdict(error).items():
        if isinstance(value, Mapping):
            continue
        shown = (
            f"{value * 1e3:.3f} ms"
            if name.endswith("_s")
            else f"{value:.5g}"
            if isinstance(value, float)
            else value
        )
        sys.stdout.write(f"{name:26} {shown}\n")


if __name__ == "__main__":
    main()
