"""The page as its readers' tools see it: parsed, not drawn (``test_page_browser.py`` draws it)."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.store import RecordNotWritten
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.latency import MOST_PLOTS, distributions_section
from pytest_llmperf.report.page import write_page
from pytest_llmperf.stats import clustered_quantile
from pytest_llmperf.units import format_interval

if TYPE_CHECKING:
    from tests.report.conftest import Page, RecordedRun


def values_with(page: Page, **fields: object) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for spec in page.specs:
        found = [one for one in spec["data"]["values"] if fields.items() <= one.items()]
        if found:
            yield spec, found


# What it says


def test_the_banner_says_the_verdict_of_the_run_and_where_to_look(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    level, banner = page.headings[0]
    assert level == "h1"
    assert " ".join(banner.split()) == "∅ INVALID: distill against math"
    look = page.text[page.text.index("Look at first") : page.text.index("Accuracy and flips")]
    assert look.index("INVALID: ") < look.index("FAIL: ")


def test_every_gate_is_in_the_table_with_its_numbers_and_its_test(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    boxed = page.row("FAIL", "boxed answers")
    assert boxed[2] == "60.0 %"
    assert boxed[6] == "90 %"
    assert boxed[7] == "67 %"
    assert boxed[8] == "100"
    assert "suites/test_night.py::test_boxed[distill]" in boxed[9]
    assert page.row("INVALID", "time to ready")[6] == "—"


def test_the_plot_draws_the_interval_of_the_verdict_against_its_bound(run: RecordedRun) -> None:
    record = run.write()
    ((_, found), *_) = values_with(run.page_of(record), gate="boxed answers")
    verdict = next(v for v in json.loads(record.read_text())["verdicts"] if v["metric"] == "boxed answers")
    drawn = found[0]
    assert (drawn["low"], drawn["high"], drawn["bound"]) == (*verdict["interval"], 0.9)
    assert (drawn["observed"], drawn["status"]) == (0.6, "FAIL")


def test_points_are_drawn_as_points(run: RecordedRun) -> None:
    found = [one for spec, values in values_with(run.page_of(run.write()), bound=-4.0) for one in values]
    assert found
    assert found[0]["observed"] == pytest.approx(-1.25)


def test_the_flips_are_the_items_whose_outcome_differs(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    assert "embedded accuracy: 7 worse, 2 better, 391 the same" in page.captions
    worse = {row[1].strip() for row in page.rows if row[0].strip() == "worse"}
    better = {row[1].strip() for row in page.rows if row[0].strip() == "better"}
    assert worse == {f"item-{i}" for i in range(7)}
    assert better == {"item-60", "item-61"}
    assert page.row("worse", "item-0")[2:] == ["100.0 %", "0.0 %"]


def test_an_accuracy_that_was_stopped_early_has_no_interval_of_its_own(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    assert page.row("distill", "embedded")[3:6] == ["400 of 400", "85.0 %", "81.7 % … 87.9 %"]
    assert page.row("math", "embedded")[3:6] == ["235 of 400", "85.1 %", "—"]


def test_both_sides_times_are_distributed_and_the_gates_gaps_beside_them(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    pooled = sorted(t for one in run.facts["load"][0]["rounds"] for t in one["ttft_s"])
    both = [spec for spec, _ in values_with(page, row="math") if spec.get("mark", {}).get("type") == "line"]
    assert {"distill", "math"} == {one["row"] for one in both[0]["data"]["values"]}
    assert page.row("TTFT at 8", "math")[2:4] == ["96", f"{1000 * pooled[47]:.0f} ms"]
    assert page.row("ITL at 8", "distill")[2] == "640"
    assert not [row for row in page.rows if [c.strip() for c in row][:2] == ["ITL at 8", "math"]]


def test_a_quantile_that_no_sample_can_bound_is_not_shown(run: RecordedRun) -> None:
    # 96 samples: enough for a p95 (59), not for a p99 (299)
    assert run.page_of(run.write()).row("TTFT at 8", "math")[5] == "too few"


def test_a_distribution_ends_at_its_longest_sample_however_many_are_drawn(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    longest = max(t for one in run.facts["load"][0]["rounds"] for t in one["ttft_s"])
    ends = {
        (v["row"], round(v["value"], 9))
        for s in page.specs
        for v in s["data"]["values"]
        if v.get("share") == 1.0
    }
    assert ("math", round(1000 * longest, 9)) in ends
    # 640 gaps, of which fewer are drawn
    assert ("distill", 2.49) in ends
    assert max(len(spec["data"]["values"]) for spec in page.specs) < 640


def test_more_distributions_than_are_drawn_leave_those_that_differ_the_most_and_the_page_says_so(
    run: RecordedRun,
) -> None:
    loads = [run.load_facts(row, n, 12, 8, n) for n in range(1, 31) for row in ("distill", "math")]
    for times in loads[-1]["rounds"]:
        times["ttft_s"] = [3 * time_s for time_s in times["ttft_s"]]
    run.facts["load"] = loads
    section = distributions_section(read_facts(run.write()))
    assert section is not None
    assert len(section.plots) == MOST_PLOTS
    assert "TTFT at 30" in {plot.title for plot in section.plots}
    assert len({row[0] for row in section.tables[0].rows}) >= 90
    (said,) = [note for note in section.notes if note.startswith("Drawn are the 24 of ")]
    assert "are in the table only" in said


def test_throughput_and_first_token_stand_against_concurrency(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    of_both = [f for spec, f in values_with(page, concurrency=8) if "512 tok/s" in f[0]["shown"]]
    assert [{one["row"] for one in found} for found in of_both] == [{"distill", "math"}]
    assert page.row("8", "distill")[2:5] == ["96", "0", "512 tok/s"]


def test_the_interval_of_a_first_token_takes_a_round_for_a_cluster(run: RecordedRun) -> None:
    # Rounds that differ more from each other than the requests within: what a cluster is about.
    side = run.facts["load"][0]
    for i, one in enumerate(side["rounds"]):
        one["ttft_s"] = [0.1 + 0.01 * i + 0.0001 * j for j in range(8)]
    low, high, _ = clustered_quantile.bounds([one["ttft_s"] for one in side["rounds"]], 0.5)
    assert low is not None
    assert high is not None
    page = run.page_of(run.write())
    assert page.row("8", "math")[7] == format_interval((low, high), "s")
    ((spec, found),) = values_with(page, low=1000 * low, high=1000 * high)
    assert (found[0]["row"], found[0]["concurrency"]) == ("math", 8)
    fields = [
        (e["y"]["field"], e.get("y2", {}).get("field")) for e in (one["encoding"] for one in spec["layer"])
    ]
    assert fields == [("value", None), ("low", "high")]


def test_every_start_of_a_server_has_its_time(run: RecordedRun) -> None:
    run.facts["servers"][0]["every_ready_s"] = [31.5, 25.4]
    page = run.page_of(run.write())
    starts = [[c.strip() for c in row] for row in page.rows if row[0].strip() == "start until ready"]
    assert [row[1:] for row in starts] == [["distill", "31.5 s"], ["distill", "25.4 s"], ["math", "25.5 s"]]
    names = {v["name"] for spec in page.specs for v in spec["data"]["values"] if "name" in v}
    assert {
        "distill: start until ready",
        "distill: start until ready (2)",
        "math: start until ready",
    } <= names


def test_commands_to_have_the_run_again_can_be_copied(run: RecordedRun) -> None:
    text = run.page_of(run.write()).text
    assert (
        "pytest suites/test_night.py --model distill --baseline math --llmperf-profile embedded"
        " --llmperf-record night.json"
    ) in text
    assert "--llmperf-mutation-test=night.json" in text
    assert "python -m vllm --served-model-name math" in text


def test_what_a_plugin_added_to_the_record_is_shown(run: RecordedRun) -> None:
    page = run.page_of(run.write(git={"commit": "0123abcd"}))
    assert "0123abcd" in page.row("git")[1]


def test_the_environment_the_costs_and_all_measured_values_are_told(run: RecordedRun) -> None:
    git = {"commit": "0123abcd", "changed": False}
    page = run.page_of(
        run.write(
            environment={"driver": "580.1", "gpus": [{"name": "H100", "total_bytes": 1}], "git": git},
            costs=[{"row": "distill", "answers": 400, "seconds": 12.25, "joules": None}],
            metrics=[
                {"row": "math", "metric": "ttft_p50", "of": "8 at a time", "value": 0.02, "unit": "s"}
                | {"interval": [0.019, None], "n": 96, "better": "lower"}
            ],
        )
    )
    assert page.row("driver")[1] == "580.1"
    assert page.row("gpus")[1] == "H100"
    assert page.row("git changed")[1] == "no"
    assert page.row("distill", "400")[2:] == ["0", "—", "12.2 s", "—"]
    assert page.row("ttft_p50")[1:] == ["8 at a time", "math", "20.0 ms", "19.0 ms … —", "96"]


def test_a_run_that_did_not_come_to_its_end_says_so_in_its_banner(run: RecordedRun) -> None:
    page = run.page_of(run.write(partial="interrupted in test_b"))
    assert "This run is not complete: interrupted in test_b" in " ".join(page.text.split())
    assert "not complete" not in run.page_of(run.write()).text


# What it does not have


def test_a_record_of_nothing_has_no_empty_section_and_says_that_nothing_was_judged(run: RecordedRun) -> None:
    run.cases.clear()
    run.facts.clear()
    page = run.page_of(run.write())
    for said in ("No server was started", "No gate was judged"):
        assert said in page.text
    assert [text for tag, text in page.headings if tag == "h2"] == ["Gates", "How to reproduce", "Setup"]
    assert "INVALID" in page.headings[0][1]
    assert page.specs == []


def test_without_the_data_of_the_gates_it_says_so_and_shows_the_rest(run: RecordedRun) -> None:
    record = run.write()
    record.with_name("night.cases.parquet").write_text("{}\n")
    page = run.page_of(record)
    assert "No flips are known: night.cases.parquet: not the gate data" in page.text
    assert page.row("FAIL", "boxed answers")[2] == "60.0 %"
    assert page.row("TTFT at 8", "math")[2] == "96"
    assert str(record.parent) not in page.html


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "other/9"}', '{"schema": "llmperf-record/1", "verdicts": [{}]}']
)
def test_what_is_no_record_is_refused_in_one_line_and_leaves_the_page_as_it_was(
    tmp_path: Path, text: str
) -> None:
    record, out = tmp_path / "night.json", tmp_path / "night.html"
    record.write_text(text)
    out.write_text("the page of yesterday")
    with pytest.raises(LlmperfError) as caught:
        write_page(record, out)
    assert len(str(caught.value).splitlines()) == 1
    assert str(record) in str(caught.value)
    assert out.read_text() == "the page of yesterday"


def test_a_page_that_cannot_be_written_is_said(run: RecordedRun) -> None:
    with pytest.raises(RecordNotWritten):
        write_page(run.write(), run.directory / "kept")


@pytest.mark.parametrize(
    ("key", "odd"),
    [("servers", 4), ("device", "GPU"), ("answers", ["x"]), ("load", [{"row": "x", "rounds": [3]}])],
)
def test_facts_of_unexpected_shape_are_refused_by_their_place(
    run: RecordedRun, key: str, odd: object
) -> None:
    path = run.write()
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: odd}))
    with pytest.raises(LlmperfError, match=rf"night\.json is not a record of schema.*{key}"):
        run.page_of(path)


# What hostile text does to it


def test_hostile_text_adds_no_element_and_is_shown_as_text(run: RecordedRun) -> None:
    hostile = run.hostile
    plain = run.page_of(run.write(added="by a plugin"))
    run.cases = [(f"{test}{hostile}", _renamed(case, hostile)) for test, case in run.cases]
    for one in (*run.facts["servers"], *run.facts["answers"], *run.facts["load"]):
        one["row"] += hostile
    run.facts |= {"candidates": [hostile], "baseline": f"math{hostile}", "device": {"name": hostile}}
    (run.directory / "kept" / "main.jsonl").unlink()
    page = run.page_of(run.write(**{hostile: hostile}))
    kinds = {"img", "script", "style", "h1", "section", "figure"}
    assert [n for n, _ in page.elements if n in kinds] == [n for n, _ in plain.elements if n in kinds]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "</script><script>document.documentElement.dataset.taken='yes'</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "[U+202E]abc [U+2028] ␛[31mred ␀" in page.text
    assert set("\u202e\u2028\x1b\x00") & set(page.html) == set()
    assert page.specs, "the data of the plots is read back whole"


def test_half_a_surrogate_pair_does_not_keep_the_page_from_being_written(run: RecordedRun) -> None:
    record = run.write()
    record.write_text(record.read_text().replace("CPU of this test", "CPU \\ud83d of this test"))
    assert run.page_of(record).row("device")[1] == "CPU � of this test"


def test_a_megabyte_of_text_is_folded_and_cut(run: RecordedRun) -> None:
    page = run.page_of(run.write(device={"name": "M" * 1_000_000}))
    assert page.html.count("M" * 20_000) == 1
    assert "more characters]" in page.row("device")[1]


# What it may cost, and what it may reach


def test_it_needs_no_network_and_runs_no_script_but_its_own(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    assert all(one["href"].startswith("#") for tag in ("a", "link") for one in page.all(tag))
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv"))
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    scripts = [text for attributes, text in page.raw if not attributes]
    digests = {
        base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts if "use strict" in s
    }
    assert policy.startswith("default-src 'none'; ")
    assert "script-src 'unsafe-inline'" not in policy
    assert digests == allowed


# Who reads it otherwise


def test_everything_has_a_heading_and_every_level_is_there(run: RecordedRun) -> None:
    run.keep_answers(lambda row, item: f"It is \\boxed{{{item}}}, says {row}.")
    page = run.page_of(run.write())
    levels = [int(tag[1]) for tag, _ in page.headings]
    assert levels.count(1) == 1
    assert set(levels) == {1, 2, 3, 4}
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for one in page.all("a")} <= set(ids)
    sections = [one for one in page.all("section") if not one.get("aria-label")]
    assert {one["aria-labelledby"] for one in sections} <= set(ids)


def test_every_plot_is_told_in_words_and_every_table_has_heads(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    plots = [one for one in page.all("div") if "data-plot" in one]
    assert [int(one["data-plot"]) for one in plots] == list(range(len(page.specs)))
    assert all(one["role"] == "img" and len(one["aria-label"]) > 40 for one in plots)
    assert len(page.captions) == len(page.all("table"))
    assert all(one["scope"] in {"col", "row"} for one in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_what_scrolls_can_be_reached_with_the_keyboard(run: RecordedRun) -> None:
    page = run.page_of(run.write())
    scrolling = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert scrolling
    assert all(one["tabindex"] == "0" and one["role"] == "region" for one in scrolling)


def test_dark_and_print_define_every_colour_that_light_does(run: RecordedRun) -> None:
    (style,) = [text for attributes, text in run.page_of(run.write()).raw if ":root" in text]
    light, dark, paper = (
        set(re.findall(r"--([\w]+):", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    )
    assert light == dark == paper
    assert set(re.findall(r"var\(--(\w+)\)", style)) <= light


def _renamed(case: Any, text: str) -> Any:
    return dataclasses.replace(case, metric=case.metric + text, origin=case.origin + text)
