"""Rows that another row's server serves: what they have from it, and what they may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.config.catalog import ROW_KEYS, load_catalog
from pytest_llmperf.config.guests import OWN_KEYS
from pytest_llmperf.config.models import Catalog, Model, same_weights_on_one_server
from pytest_llmperf.config.run_config import Options, Settings, resolve
from pytest_llmperf.errors import CatalogError

BASE = """
[profile.p]
candidate = "base"
baseline = "base"
[profile.p.model.base]
weights = "org/base"
dtype = "bfloat16"
max_model_len = 512
arguments = ["--enforce-eager"]
served_name = "assistant"
same_model_as = "other"
[profile.p.model.base.sampling]
temperature = 0.6
max_tokens = 100
[profile.p.model.other]
weights = "org/other"
[profile.p.model.running]
engine = "url"
base_url = "http://127.0.0.1:1"
[profile.p.model.slow]
weights = "org/base"
engine = "transformers"
[profile.p.model.named]
weights = "org/base"
arguments = ["--enable-lora", "--lora-modules", "x=/x"]
"""
TUNED = '[profile.p.model.tuned]\nadapter_of = "base"\nadapter = "./tuned"\n'
HOT = '[profile.p.model.hot]\nalias_of = "base"\n[profile.p.model.hot.sampling]\ntemperature = 1.0\n'


def load(tmp_path: Path, text: str) -> Catalog:
    (tmp_path / "models.toml").write_text(BASE + text)
    return load_catalog(tmp_path / "models.toml")


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(CatalogError) as raised:
        load(tmp_path, text)
    (line,) = str(raised.value).splitlines()
    return line


def test_an_adapter_has_everything_of_the_server_from_its_base_and_its_own_name(tmp_path: Path) -> None:
    profile = load(tmp_path, TUNED).profile("p")
    base, tuned = profile.model("base"), profile.model("tuned")
    assert tuned == replace(
        base,
        name="tuned",
        served_name=None,
        same_model_as=None,
        adapter_of="base",
        adapter=str(tmp_path / "tuned"),
    )
    assert (tuned.served, tuned.server_row, base.server_row) == ("tuned", "base", "base")
    assert tuned.sampling.temperature == 0.6


@pytest.mark.parametrize(
    ("written", "read"),
    [("org/adapter", "org/adapter"), ("here", "{}/here"), ("./there", "{}/there"), ("/abs", "/abs")],
)
def test_an_adapter_is_found_as_weights_are(tmp_path: Path, written: str, read: str) -> None:
    (tmp_path / "here").mkdir()
    text = TUNED.replace("./tuned", written)
    assert load(tmp_path, text).profile("p").model("tuned").adapter == read.format(tmp_path)


def test_rows_that_extend_an_adapter_are_adapters_of_the_same_base(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        """
        [profile.p.model.second]
        extends = "tuned"
        adapter = "org/second"
        rules = { thinking = true }
        [profile.p.model.tuned]
        adapter_of = "base"
        adapter = "org/first"
        served_name = "first"
        sampling = { temperature = 0.2 }
        [profile.p.model.plain]
        extends = "tuned"
        alias_of = "base"
        """,
    ).profile("p")
    second, plain = profile.model("second"), profile.model("plain")
    assert (second.adapter_of, second.adapter, second.served) == ("base", "org/second", "second")
    assert (second.sampling.temperature, second.sampling.max_tokens) == (0.2, 100)
    assert (plain.alias_of, plain.adapter_of, plain.adapter, plain.sampling.temperature) == (
        "base",
        None,
        None,
        0.2,
    )
    assert same_weights_on_one_server(plain, profile.model("base"))
    assert not same_weights_on_one_server(second, profile.model("tuned"))
    assert not same_weights_on_one_server(second, second)


VALUES = {
    "weights": '"org/x"',
    "engine": '"vllm"',
    "arguments": "[]",
    "add_arguments": '["--x"]',
    "environment": '{ A = "1" }',
    "gpus": "1",
    "gpu_memory_fraction": "0.5",
    "memory_needed": '"1 GiB"',
    "ready_timeout": '"1 min"',
    "max_model_len": "128",
    "trust_remote_code": "true",
    "extra_body": "false",
    "damage": "{ seed = 1, amount = 0.1 }",
}


@pytest.mark.parametrize("key", sorted({*ROW_KEYS} - {*OWN_KEYS, "extends"}))
@pytest.mark.parametrize("guest", [TUNED, '[profile.p.model.hot]\nalias_of = "base"\n'])
def test_what_belongs_to_the_server_is_said_at_its_own_row(tmp_path: Path, guest: str, key: str) -> None:
    value = VALUES.get(key, '"x"')
    said = complaint(tmp_path, f"{guest}{key} = {value}\n")
    assert f"] {key} = " in said
    assert "belongs to the server, which is that of the row base: write it there" in said


MISTAKES = {
    "no adapter": ('[profile.p.model.t]\nadapter_of = "base"\n', "adapter: missing"),
    "no base": (
        '[profile.p.model.t]\nweights = "a/b"\nadapter = "x/y"\n',
        "needs adapter_of, the row whose server",
    ),
    "both": ('[profile.p.model.t]\nadapter_of = "base"\nalias_of = "base"\nadapter = "x/y"\n', "not both"),
    "alias with an adapter": (
        '[profile.p.model.t]\nalias_of = "base"\nadapter = "x/y"\n',
        "write adapter_of",
    ),
    "unknown": (
        '[profile.p.model.t]\nadapter_of = "bace"\nadapter = "x/y"\n',
        "unknown row; did you mean base?",
    ),
    "of another type": ('[profile.p.model.t]\nadapter_of = 3\nadapter = "x/y"\n', "unknown row"),
    "empty": ('[profile.p.model.t]\nadapter_of = "base"\nadapter = ""\n', "adapter = "),
    "itself": ('[profile.p.model.t]\nadapter_of = "t"\nadapter = "x/y"\n', "goes in a circle: t → t"),
    "a circle": (
        '[profile.p.model.t]\nadapter_of = "u"\nadapter = "x/y"\n[profile.p.model.u]\nalias_of = "t"\n',
        "goes in a circle: t → u → t",
    ),
    "an adapter of an adapter": (
        TUNED + '[profile.p.model.t]\nadapter_of = "tuned"\nadapter = "x/y"\n',
        'the row tuned is itself an adapter of base; write adapter_of = "base"',
    ),
    "an adapter of an alias": (
        HOT + '[profile.p.model.t]\nadapter_of = "hot"\nadapter = "x/y"\n',
        "the row hot is itself an alias of base",
    ),
    "of a url": (
        '[profile.p.model.t]\nadapter_of = "running"\nadapter = "x/y"\n',
        'its server runs already; an adapter there is a row of its own with engine = "url", ',
    ),
    "of transformers": (
        '[profile.p.model.t]\nadapter_of = "slow"\nadapter = "x/y"\n',
        "transformers' server serves one model under one name",
    ),
    "extends another server": (
        '[profile.p.model.t]\nextends = "other"\nadapter_of = "base"\nadapter = "x/y"\n',
        "a row with adapter_of has everything from the row base; extend it",
    ),
    "arguments that name adapters": (
        '[profile.p.model.t]\nadapter_of = "named"\nadapter = "x/y"\n',
        "names adapters in its arguments (--lora-modules): give each a row with adapter_of",
    ),
    "the name of the base": (TUNED + 'served_name = "assistant"\n', "is also the name of the row base"),
    "the name of another": (
        TUNED + '[profile.p.model.t]\nadapter_of = "base"\nadapter = "x/y"\nserved_name = "tuned"\n',
        "is also the name of the row t",
    ),
    "an alias asked alike": (
        '[profile.p.model.t]\nalias_of = "base"\n',
        "the row is asked exactly as base, so that a server would be compared with itself",
    ),
    "an adapter twice": (TUNED + '[profile.p.model.t]\nextends = "tuned"\n', "is asked exactly as t,"),
    "answers without room": (
        TUNED + "sampling = { max_tokens = 512 }\n",
        "must be less than max_model_len (512)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(tmp_path: Path, name: str) -> None:
    text, says = MISTAKES[name]
    assert says in complaint(tmp_path, text)


def settings(tmp_path: Path, **given: object) -> Settings:
    load(tmp_path, TUNED + HOT)
    (tmp_path / "budgets.toml").write_text("")
    options = Options(tmp_path / "models.toml", tmp_path / "budgets.toml", **given)  # type: ignore[arg-type]
    return resolve(options, None, "CPU")


def names(rows: tuple[Model, ...]) -> list[str]:
    return [row.name for row in rows]


def test_a_run_knows_the_hosts_of_its_rows_and_their_guests(tmp_path: Path) -> None:
    run = settings(tmp_path, model=("tuned",), baseline="other")
    assert names(run.guests_of("base")) == ["tuned"]
    assert list(run.hosts) == ["base"]
    assert run.hosts["base"].weights == "org/base"
    run = settings(tmp_path, model=("tuned", "base"), baseline="hot", engine_python="/venv/python")
    assert names(run.guests_of("base")) == ["hot", "tuned"]
    assert {row.engine_python for row in (*run.candidates, run.hosts["base"])} == {"/venv/python"}
    assert "tuned → adapter" in run.header()
    assert settings(tmp_path).hosts == {}


@pytest.mark.parametrize("url", ["tuned=http://127.0.0.1:2", "base=http://127.0.0.1:2", "http://127.0.0.1:2"])
def test_an_adapter_on_a_server_that_runs_is_a_row_with_its_url(tmp_path: Path, url: str) -> None:
    run = settings(tmp_path, model=("tuned",), baseline="base", base_url=(url,))
    (tuned,) = run.candidates
    assert (tuned.engine, tuned.base_url, tuned.host, tuned.served) == (
        "url",
        "http://127.0.0.1:2",
        None,
        "tuned",
    )
    assert run.hosts == {}
    assert (run.baseline.engine == "url") == url.startswith("base=")
