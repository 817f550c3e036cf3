"""Recorded loads: three forms of file, and the same requests again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.errors import DataError
from pytest_llmperf.load.patterns import OpenLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.replay import read_trace
from pytest_llmperf.load.runner import run_load
from pytest_llmperf.load.workload import RequestBodies, Shape, Workload, prepare_shapes

OURS = """\
{"time_s": 10.0, "input_tokens": 40, "output_tokens": 3}
{"time_s": 10.05, "input_tokens": 64, "output_tokens": 5, "note": "further fields are nobody's business"}

{"time_s": 10.1, "input_tokens": 40, "output_tokens": 2}
"""
MOONCAKE = f"""\
{{"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ids": {[*range(14)]}}}
{{"timestamp": 5999, "input_length": 1053, "output_length": 26, "hash_ids": [0, 1, 20]}}
"""
AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.0319600,3180,0\r\n"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 23:59:59.500000+00:00,100,10\n"
    "2024-05-11 00:00:00+00:00,200,20"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("text", "offsets", "shapes"),
    [
        (OURS, [0, 0.05, 0.1], [Shape(40, 3), Shape(64, 5), Shape(40, 2)]),
        (
            MOONCAKE,
            [0, 2.999],
            [Shape(6758, 500, tuple(range(14)), 512), Shape(1053, 26, (0, 1, 20), 512)],
        ),
        (AZURE_2023, [0, 0.052], [Shape(4808, 10), Shape(3180, 1)]),
        (AZURE_2024, [0, 0.5], [Shape(100, 10), Shape(200, 20)]),
        ("\ufeff" + AZURE_2024, [0, 0.5], [Shape(100, 10), Shape(200, 20)]),
    ],
    ids=["ours", "Mooncake", "Azure 2023", "Azure 2024", "with a byte order mark"],
)
def test_each_form_gives_times_from_zero_and_lengths(
    tmp_path: Path, text: str, offsets: list[float], shapes: list[Shape]
) -> None:
    replay = read_trace(written(tmp_path, text))
    assert replay.schedule.offsets_s == pytest.approx(offsets, abs=1e-5)
    assert list(replay.shapes) == shapes
    assert "trace.txt" in replay.schedule.name


def test_requests_out_of_order_are_sorted_and_keep_their_lengths(tmp_path: Path) -> None:
    text = "\n".join(f'{{"time_s": {at}, "input_tokens": {at}0, "output_tokens": {at}}}' for at in (3, 1, 2))
    replay = read_trace(written(tmp_path, text))
    assert replay.schedule.offsets_s == (0, 1, 2)
    assert replay.shapes == (Shape(10, 1), Shape(20, 2), Shape(30, 3))


def test_a_part_begins_at_zero_of_its_own(tmp_path: Path) -> None:
    replay = read_trace(written(tmp_path, OURS), skip=1, requests=1)
    assert (replay.schedule.offsets_s, replay.shapes) == ((0.0,), (Shape(64, 5),))


def test_faster_and_shorter_say_so_in_the_name(tmp_path: Path) -> None:
    replay = read_trace(written(tmp_path, OURS))
    fast = replay.faster(2)
    assert fast.schedule.offsets_s == pytest.approx([0, 0.025, 0.05])
    assert fast.schedule.rate_per_s == pytest.approx(2 * replay.schedule.rate_per_s)
    assert "2 times as fast" in fast.schedule.name
    cut = replay.at_most(input_tokens=50, output_tokens=3)
    assert cut.shapes == (Shape(40, 3), Shape(50, 3), Shape(40, 2))
    assert "1 of 3 requests shortened" in cut.schedule.name
    assert replay.at_most(input_tokens=64, output_tokens=5) == replay
    with pytest.raises(ValueError, match="factor"):
        replay.faster(0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"time_s": 0, "input_tokens": 4}', 1),
        (OURS + '{"time_s": 1, "input_tokens": -4, "output_tokens": 1}', 5),
        ('{"time_s": 0, "input_tokens": 4.5, "output_tokens": 1}', 1),
        ('{"time_s": NaN, "input_tokens": 4, "output_tokens": 1}', 1),
        ('{"time_s": true, "input_tokens": 4, "output_tokens": 1}', 1),
        ("[1, 2, 3]", 1),
        ("not a trace", 1),
        (AZURE_2023 + "yesterday,1,2", 4),
        (AZURE_2023 + "2023-11-16 18:17:05,1", 4),
    ],
)
def test_a_line_that_is_no_request_is_refused_with_its_number(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(DataError, match=rf"line {line}: .*need one of"):
        read_trace(written(tmp_path, text))


@pytest.mark.parametrize("text", ["", "\n\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n"])
def test_a_trace_without_requests_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="no request"):
        read_trace(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        read_trace(tmp_path / "nowhere.jsonl")


def test_a_trace_is_played_with_its_times_and_lengths(
    tmp_path: Path, truth: Callable[[ReferenceOptions], ReferenceServer]
) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    replay = read_trace(written(tmp_path, OURS))
    run = run_load(known.server, Workload(), OpenLoop(replay.schedule, replay.shapes))
    assert [trace.prompt_tokens for trace in run.traces] == [40, 64, 40]
    assert [trace.completion_tokens for trace in run.traces] == [3, 5, 2]
    assert [trace.intended_s - run.start_s for trace in run.traces] == pytest.approx([0, 0.05, 0.1])


def lines_of(*times: float, **more: object) -> str:
    rows = [{"timestamp": at, "input_length": 10, "output_length": 2, **more} for at in times]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "span_s", "unit"),
    [
        (lines_of(*(0.114 + 0.25 * n for n in range(200))), 49.75, "seconds"),
        (lines_of(*range(0, 7200, 3)), 7197, "seconds"),
        (lines_of(*range(0, 3_600_000, 150)), 3599.85, "milliseconds"),
        (lines_of(1_700_000_000_000, 1_700_000_003_000), 3, "milliseconds"),
        (lines_of(1_700_000_000.5, 1_700_000_003.5), 3, "seconds"),
        (lines_of(0, 1, 2, chat_id=7, parent_chat_id=-1, turn=1), 2, "seconds"),
        (lines_of(0, 100_000, chat_id=7), 100_000, "seconds"),
        (lines_of(5, 5), 0, "milliseconds"),
    ],
)
def test_the_unit_of_timestamps_is_told_from_the_file_and_said(
    tmp_path: Path, text: str, span_s: float, unit: str
) -> None:
    replay = read_trace(written(tmp_path, text))
    assert replay.schedule.span_s == pytest.approx(span_s)
    assert f"its timestamps are read as {unit}" in replay.note


@pytest.mark.parametrize(
    "text",
    [lines_of(*range(0, 1000, 10)), lines_of(0, 1e9), lines_of(*(n / 1e6 for n in range(100)))],
    ids=["both units are plausible", "neither: too slow", "neither: too fast"],
)
def test_a_unit_that_cannot_be_told_must_be_said(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(
        DataError, match=r'a second if these are seconds, .*say which, with unit="s" or unit="ms"'
    ):
        read_trace(path)
    seconds, milliseconds = read_trace(path, unit="s"), read_trace(path, unit="ms")
    assert seconds.schedule.span_s == pytest.approx(1000 * milliseconds.schedule.span_s)
    assert "say" not in seconds.note
    with pytest.raises(DataError, match="need 's' or 'ms'"):
        read_trace(path, unit="us")  # type: ignore[arg-type]


def test_the_span_of_every_trace_is_said(tmp_path: Path) -> None:
    replay = read_trace(written(tmp_path, OURS)).faster(2).at_most(input_tokens=50, output_tokens=3)
    assert replay.note == "trace trace.txt: 3 requests over 0.1 s"
    assert (
        "2 requests over 3 min"
        in read_trace(written(tmp_path, lines_of(0, 180_000, chat_id=1)), unit="ms").note
    )
    assert "2 requests over 2 h" in read_trace(written(tmp_path, lines_of(0, 7200, chat_id=1))).note


@pytest.mark.parametrize(
    "row",
    [
        '{"timestamp": 1e999, "input_length": 1, "output_length": 1}',
        f'{{"timestamp": {10**400}, "input_length": 1, "output_length": 1}}',
        f'{{"timestamp": 1, "input_length": {10**12}, "output_length": 1}}',
        "[" * 100_000,
    ],
)
def test_numbers_that_no_trace_has_are_refused_with_their_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="line 2: "):
        read_trace(written(tmp_path, f"{lines_of(0)}{row}"))


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    text = lines_of(0, 1000, note="a\u2028b\x85c").encode().decode("unicode_escape")
    assert len(read_trace(written(tmp_path, text)).shapes) == 2


@pytest.mark.parametrize(
    "line",
    [
        '"' + "x" * 200_000,
        "\x00\x00",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        '[{"timestamp": 1, "input_length": 2, "output_length": 3}]',
    ],
    ids=["a field beyond csv's limit", "NUL", "BurstGPT", "an array"],
)
def test_a_first_line_of_no_known_form_is_one_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="line 1: ") as caught:
        read_trace(written(tmp_path, line))
    assert len(str(caught.value)) < 700


def test_a_later_line_beyond_the_limit_of_csv_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4: "):
        read_trace(written(tmp_path, AZURE_2024 + '\n"' + "x" * 200_000))


def test_two_units_in_one_file_are_refused(tmp_path: Path) -> None:
    ours = '{"time_s": 1.0, "input_tokens": 4, "output_tokens": 3}\n'
    for text, line in (
        (ours + MOONCAKE, 2),
        (MOONCAKE + ours, 3),
        (ours + ours.replace("}", ', "timestamp": 3}'), 2),
    ):
        with pytest.raises(DataError, match=f"line {line}: .*whose units differ"):
            read_trace(written(tmp_path, text))


def test_whole_numbers_written_as_floats_are_counts(tmp_path: Path) -> None:
    azure = read_trace(written(tmp_path, AZURE_2024.replace("100,10", "100.0,10.0")))
    mooncake = read_trace(written(tmp_path, MOONCAKE.replace("6758", "6758.0")))
    assert azure.shapes == (Shape(100, 10), Shape(200, 20))
    assert mooncake.shapes[0] == Shape(6758, 500, tuple(range(14)), 512)
    with pytest.raises(DataError, match="line 1: "):
        read_trace(written(tmp_path, MOONCAKE.replace("6758", "6758.5")))


@pytest.mark.parametrize(("skip", "requests"), [(-1, None), (0, 0), (0, -3)])
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, skip: int, requests: int | None) -> None:
    with pytest.raises(DataError, match="need skip from 0 on, and at least 1 request"):
        read_trace(written(tmp_path, OURS), skip=skip, requests=requests)


def test_the_note_says_what_hash_ids_mean(tmp_path: Path) -> None:
    path = written(tmp_path, MOONCAKE)
    assert "equal hash_ids are equal blocks of 512 tokens" in read_trace(path).note
    assert read_trace(path).shares_prefixes
    left_out = read_trace(path, block_tokens=0)
    assert "hash_ids are left out" in left_out.note
    assert (left_out.shapes, left_out.shares_prefixes) == ((Shape(6758, 500), Shape(1053, 26)), False)
    assert "hash_ids" not in read_trace(written(tmp_path, OURS)).note


def hashed(*rows: tuple[int, object]) -> str:
    lines = [
        {"timestamp": 100 * at, "input_length": length, "output_length": 2, "hash_ids": ids}
        for at, (length, ids) in enumerate(rows)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


@pytest.mark.parametrize(
    ("rows", "said", "size"),
    [
        ([(40, [1, 2, 3]), (10, [1])], None, 16),
        ([(40, [1, 2, 3]), (30, [])], None, 16),
        ([(40, [1, 2])], 20, 20),
        ([(40, [7])], None, 512),
    ],
)
def test_the_size_of_a_block_is_told_from_the_lengths(
    tmp_path: Path, rows: list[tuple[int, object]], said: int | None, size: int
) -> None:
    shapes = read_trace(written(tmp_path, hashed(*rows)), block_tokens=said).shapes
    assert {shape.block_tokens for shape in shapes} == {size}


@pytest.mark.parametrize(
    ("rows", "said", "why"),
    [
        ([(90, [1, 2, 3, 4])], None, "not of a usual size .* as with blocks of 23 to 29 tokens"),
        ([(40, [1, 2, 3]), (40, [1, 2])], None, "not of a usual size"),
        ([(40, [1, 2, 3])], 512, "not of 512 tokens: a prompt of 40 tokens has 3 hash_ids"),
        ([(3, [1, 2, 3, 4, 5])], None, "as with no size of blocks"),
        ([(40, [1, 2, 3])], -1, "need a whole number"),
        ([(40, [1, None])], None, "not a list of whole numbers"),
        ([(40, "1 2")], None, "not a list of whole numbers"),
        ([(40, [1.5])], None, "not a list of whole numbers"),
    ],
)
def test_blocks_that_fit_no_size_are_refused(
    tmp_path: Path, rows: list[tuple[int, object]], said: int | None, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        read_trace(written(tmp_path, hashed(*rows)), block_tokens=said)


def test_equal_blocks_are_equal_text_and_the_rest_is_unique(
    tmp_path: Path, truth: Callable[[ReferenceOptions], ReferenceServer]
) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    rows = [(40, [1, 2, 3]), (48, [1, 2, 4]), (40, [9, 2, 3]), (40, [1, 2, 3]), (40, [])]
    replay = read_trace(written(tmp_path, hashed(*rows))).faster(10)

    async def bodies() -> RequestBodies:
        async with Pool(Endpoint.of(known.server)) as pool:
            workload = Workload(warm_cache=True, unique=False)
            return await prepare_shapes(pool, known.server.model, workload, replay.shapes, nonce="n")

    made = loop.run(bodies)
    texts = [str(body["messages"][0]["content"]).split() for body in made.bodies]  # type: ignore[index,call-overload]
    assert [8 + len(text) for text in texts] == [40, 48, 40, 40, 40]
    assert texts[0] == texts[3]
    assert texts[1][:32] == texts[0]
    assert texts[2][:16] != texts[0][:16]
    assert texts[2][16:] == texts[0][16:]
    assert texts[4] not in texts[:4]
    assert not any("cache_salt" in body for body in made.bodies)
    run = run_load(
        known.server, Workload(warm_cache=True, unique=False), OpenLoop(replay.schedule, replay.shapes)
    )
    assert [trace.prompt_tokens for trace in run.traces] == [40, 48, 40, 40, 40]
    assert not any("warm" in problem or "prompt" in problem for problem in run.own_problems)
