"""Secrets are taken out of whatever is written, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.record import redaction
from pytest_llmperf.record.redaction import (
    clean,
    clean_all,
    hide,
    redact,
    redact_log,
    redact_values,
    redactor,
)
from pytest_llmperf.record.store import write_record


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "jdoe")
    monkeypatch.setenv("HOME", "/home/jdoe")
    monkeypatch.setenv("HF_TOKEN", "planted-token-1")
    monkeypatch.setenv("GATEWAY_API_KEY", "planted-key-22")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallel-false")
    monkeypatch.setattr(redaction, "_HIDDEN", set())


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key planted-key-22, planted-token-1.", "key [redacted], [redacted]."),
        ("hf_AbCdEfGhIjKlMnOpQrSt", "[redacted]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
        ("http://me:pass@host/v1", "http://[redacted]@host/v1"),
        ("/home/jdoe/models/x and file:///home/jdoe", "~/models/x and file://~"),
        ("/home/jdoe2/models", "/home/jdoe2/models"),
        ("/data/jdoe/x, /tmp/pytest-of-jdoe/0", "/data/[user]/x, /tmp/pytest-of-[user]/0"),
        ("jdoe@host", "[user]@host"),
        ("jdoe has three apples; parallel-false", "jdoe has three apples; parallel-false"),
        ("task-force_of_twenty_people", "task-force_of_twenty_people"),
        ("x^{2}/2 = 8/home", "x^{2}/2 = 8/home"),
    ],
)
def test_what_is_secret_is_taken_out_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean
    assert redact_values({text: [text, {"x": text}], "n": 1}) == {clean: [clean, {"x": clean}], "n": 1}


def test_of_secrets_that_overlap_the_leftmost_counts_and_of_those_at_one_place_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRST_TOKEN", "planted-token")
    monkeypatch.setenv("LAST_TOKEN", "sk-planted-token-1-and-more")
    assert (
        redact("planted-token-1 planted-token sk-planted-token-1-and-more")
        == "[redacted] [redacted] [redacted]"
    )


def test_a_user_is_no_word_of_a_log() -> None:
    assert redact_log("started by jdoe (jdoes-model)") == "started by [user] (jdoes-model)"


def test_a_key_that_was_made_on_the_way_is_hidden_from_then_on() -> None:
    assert redact("made-just-now") == "made-just-now"
    hide("made-just-now")
    hide("short")
    assert redact("made-just-now, short") == "[redacted], short"


def test_a_secret_across_several_pieces_of_a_text_is_gone_and_the_other_pieces_stay() -> None:
    pieces = ["the ", "key plan", "ted-", "key", "-22 ", "it", " is"]
    cleaned = redaction.clean_parts(pieces, redaction.clean)
    assert "".join(cleaned) == redact("".join(pieces)) == "the key [redacted] it is"
    assert cleaned == ["the ", "key [redacted]", "", "", " ", "it", " is"]
    assert redaction.clean_parts(pieces[5:], redaction.clean) == pieces[5:]
    twice = ["planted-key-22", " and ", "planted-", "token-1", "."]
    assert redaction.clean_parts(twice, redaction.clean) == ["[redacted]", "", "", "", "."]


def test_nothing_written_holds_a_secret_also_where_json_would_write_it_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", 'quoted"tökén\\1')
    write_record(tmp_path / "record.json", {"said": 'a quoted"tökén\\1 b'})
    assert '"said": "a [redacted] b"' in (tmp_path / "record.json").read_text(encoding="utf-8")


def test_everybodys_names_and_short_values_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "root")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("HF_TOKEN", "1")
    assert redact_log("the root of 1 / root@host /x/root/y") == "the root of 1 / root@host /x/root/y"


@pytest.mark.parametrize(
    "texts",
    [
        ["plain", "plain", ""],
        ["task-001", "sk-abcdefghijklmnopqrst", "task-001"],
        ["half a pair \ud83d", "plain"],
        ["/home/somebody/x", "Bearer abcdefgh12", "https://user:password@example.org"],
    ],
)
def test_many_texts_are_cleaned_like_each_alone(texts: list[str]) -> None:
    assert [*clean_all(texts, redactor())] == [clean(text) for text in texts]


def test_a_secret_is_not_searched_across_two_texts() -> None:
    hide("made-on-the-way")
    assert [*clean_all(["made-on-", "the-way"], redactor())] == ["made-on-", "the-way"]
    assert [*clean_all(["made-on-the-way"], redactor())] == ["[redacted]"]
