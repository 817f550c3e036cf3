from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record.verdict_json import verdict_from_json, verdict_to_json

finite = st.floats(allow_nan=False, allow_infinity=False)
optional = st.none() | finite
verdicts = st.builds(
    Verdict,
    status=st.sampled_from(Status),
    metric=st.text(),
    observed=optional,
    interval=st.none() | st.tuples(finite, finite),
    bound=optional,
    n=st.integers(0),
    n_needed=st.none() | st.integers(1),
    method=st.text(),
    why=st.text(),
    unit=st.sampled_from(["share", "s", "ratio", "bytes"]),
    candidate=optional,
    baseline=optional,
    detail=st.text(),
)


@given(verdicts)
def test_a_verdict_survives_the_way_through_json(verdict: Verdict) -> None:
    assert verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict)))) == verdict


def test_a_verdict_that_saw_nan_is_still_valid_json() -> None:
    verdict = Verdict(
        Status.INVALID, "ttft", math.nan, (-math.inf, math.inf), 1.0, 3, None, "m", "NaN was measured"
    )
    text = json.dumps(verdict_to_json(verdict), allow_nan=False)
    back = verdict_from_json(json.loads(text))
    assert back.observed is None
    assert back.interval == (-math.inf, math.inf)
    assert back.status is Status.INVALID
