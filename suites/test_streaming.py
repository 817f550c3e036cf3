"""What a chat user's client relies on: tokens come one by one, in order, are counted, and the stream ends properly."""

from __future__ import annotations

CONCURRENCY = 8
QUESTION = "A box holds 6 red and 7 blue pens. How many pens are in 3 boxes?"


# Longer than anything that keeps a process from the processor for a moment, and makes a stream arrive in one piece.
LONG = {"max_tokens": 256, "ignore_eos": True}


def test_the_first_token_comes_before_the_answer_is_complete(candidate, stream):
    answer = stream(candidate, QUESTION, **LONG)
    assert answer.ok, answer.error
    assert answer.ttft_s is not None, "no visible token came"
    assert answer.ttft_s < answer.end_s - answer.sent_s


def test_tokens_arrive_in_order_and_spread_over_time(candidate, stream):
    times = [arrival.time_s for arrival in stream(candidate, QUESTION, **LONG).arrivals]
    assert len(times) >= 3
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_the_streamed_text_is_what_the_same_request_returns_in_one_piece(candidate, stream, openai_client):
    # One request at a time and temperature 0: the only setting in which equal text may be expected of vLLM.
    streamed = stream(candidate, QUESTION, temperature=0, max_tokens=48)
    whole = openai_client(candidate).chat.completions.create(
        model=candidate.served,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=48,
    )
    assert streamed.text == whole.choices[0].message.content


def test_usage_counts_the_tokens(candidate, stream):
    answer = stream(candidate, QUESTION, max_tokens=16, ignore_eos=True)
    assert answer.completion_tokens == 16
    assert answer.prompt_tokens is not None
    assert answer.prompt_tokens > 0


def test_an_answer_that_hits_the_limit_says_so(candidate, stream):
    assert stream(candidate, QUESTION, **{**LONG, "max_tokens": 3}).finish_reason == "length"


def test_streams_side_by_side_are_all_answered(candidate, stream):
    answers = stream.together(candidate, [f"{QUESTION} And in {n} boxes?" for n in range(4, 12)])
    assert [answer.error for answer in answers if not answer.ok] == []
    assert all(answer.arrivals for answer in answers)


def test_streams_side_by_side_overlap_in_time(candidate, stream):
    answers = stream.together(candidate, [QUESTION] * 8, **LONG)
    last_start = max(answer.arrivals[0].time_s for answer in answers)
    first_end = min(answer.end_s for answer in answers)
    assert last_start < first_end, "the streams came one after the other"


def test_no_stream_stalls(candidate, load, budget):
    # The longest wait within an answer: a p95 of all gaps does not see one freeze among a hundred tokens.
    assert load(candidate, concurrency=CONCURRENCY).stall.p95 <= budget.streaming.stall
