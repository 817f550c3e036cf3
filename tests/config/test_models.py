"""models.toml: what a good one says, and the one line that each mistake gets."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.catalog import ROW_KEYS, choose_profile, load_catalog
from pytest_llmperf.config.models import Catalog, Model, Sampling
from pytest_llmperf.config.toml_errors import keys_of
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.units import format_size, parse_quantity

SUITES = Path(__file__).parents[2] / "suites"

HEAD = """
[profile.p]
candidate = "a"
baseline = "a"
"""


def load(tmp_path: Path, text: str) -> Catalog:
    file = tmp_path / "models.toml"
    file.write_text(text, "utf-8")
    return load_catalog(file)


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(CatalogError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def row(rest: str) -> str:
    return f'{HEAD}[profile.p.model.a]\nweights = "org/name"\n{rest}'


def test_the_shipped_catalogue_holds_the_two_profiles_with_pinned_revisions() -> None:
    catalog = load_catalog(SUITES / "models.toml")
    assert list(catalog.profiles) == ["gpu", "embedded", "long"]
    for model in (*catalog.profile("gpu").models.values(), *catalog.profile("long").models.values()):
        assert model.revision is not None
        assert len(model.revision) == 40
        assert model.sampling.max_tokens >= 1024 or model.rules.protocol == "few-shot"
    embedded = catalog.profile("embedded")
    assert {m.gpus for m in embedded.models.values()} == {0}
    assert embedded.model("distill-damaged").damage is not None


@pytest.mark.parametrize("profile", ["gpu", "long"])
def test_two_rows_of_a_profile_for_gpus_fit_on_one_together(profile: str) -> None:
    fractions = [
        m.gpu_memory_fraction for m in load_catalog(SUITES / "models.toml").profile(profile).models.values()
    ]
    assert all(f is not None for f in fractions)
    assert sum(f or 1.0 for f in fractions) <= 0.9


def test_a_row_that_extends_another_has_its_keys_and_merges_its_tables(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        row(
            """
            arguments = ["--enforce-eager"]
            environment = { A = "1", B = "2" }
            sampling = { temperature = 0.6, max_tokens = 512 }
            rules = { thinking = true, temperature = [0.5, 0.7] }
            [profile.p.model.b]
            extends = "a"
            add_arguments = ["--max-num-seqs", "4"]
            environment = { B = "3" }
            sampling = { temperature = 1.0 }
            rules = { system = "Be brief." }
            """
        ),
    ).profile("p")
    a, b = profile.model("a"), profile.model("b")
    assert b.weights == a.weights
    assert b.arguments == ("--enforce-eager", "--max-num-seqs", "4")
    assert b.environment == {"A": "1", "B": "3"}
    assert b.sampling == dataclasses.replace(a.sampling, temperature=1.0)
    assert b.rules == dataclasses.replace(a.rules, system="Be brief.")
    assert b.name == b.served == "b"


def test_rows_may_extend_rows_that_stand_below_them(tmp_path: Path) -> None:
    text = (
        f'{HEAD}[profile.p.model.a]\nextends = "b"\n[profile.p.model.b]\nweights = "org/b"\nrevision = "r"\n'
    )
    model = load(tmp_path, text).profile("p").model("a")
    assert (model.weights, model.revision) == ("org/b", "r")


def test_other_weights_do_not_inherit_the_revision_of_the_extended_row(tmp_path: Path) -> None:
    text = row('revision = "abc"\n[profile.p.model.b]\nextends = "a"\nweights = "org/other"')
    assert load(tmp_path, text).profile("p").model("b").revision is None


def test_a_row_for_another_engine_version_may_be_named_with_an_at_sign(tmp_path: Path) -> None:
    text = row('[profile.p.model."a@vllm-next"]\nextends = "a"\nengine_python = "./next/bin/python"')
    model = load(tmp_path, text).profile("p").model("a@vllm-next")
    assert model.engine_python == str(tmp_path / "next/bin/python")


def test_the_parallel_sizes_say_how_many_gpus_a_row_needs(tmp_path: Path) -> None:
    text = row('arguments = ["--tensor-parallel-size", "2", "--pipeline-parallel-size=3"]')
    assert load(tmp_path, text).profile("p").model("a").gpus == 6


def test_values_with_units_are_read_in_si(tmp_path: Path) -> None:
    model = load(tmp_path, row('ready_timeout = "2 min"\nmemory_needed = "4 GiB"')).profile("p").model("a")
    assert model.ready_timeout_s == 120.0
    assert model.memory_needed_bytes == 4 * 2**30


def test_a_url_row_names_a_server_that_runs_already(tmp_path: Path) -> None:
    rest = 'engine = "url"\nbase_url = "http://127.0.0.1:8000/v1/"\napi_key_env = "KEY"\n'
    text = f"{HEAD}[profile.p.model.a]\n{rest}"
    assert load(tmp_path, text).profile("p").model("a").base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("max_modle_len = 4096", "max_modle_len = 4096: unknown key; did you mean max_model_len?"),
        ('engine = "vlm"', 'engine = "vlm": must be one of vllm, transformers, url'),
        ('max_model_len = "4096"', 'max_model_len = "4096": must be an integer'),
        ("max_model_len = true", "max_model_len = true: must be an integer"),
        ("max_model_len = 0", "max_model_len = 0: must be at least 1"),
        ("max_model_len = 99999999999999999999", "is beyond the 64-bit integers"),
        ("dtype = 'bf16'", 'dtype = "bf16": must be one of auto, bfloat16'),
        ("gpu_memory_fraction = 0.0", "gpu_memory_fraction = 0.0: must be more than 0 and at most 1"),
        ("gpu_memory_fraction = nan", "must be finite"),
        ("gpus = 2", "gpus = 2: must be 1, the product of the parallel sizes"),
        (
            'arguments = ["--max-model-len", "9"]',
            "--max-model-len is not an argument of a row: use max_model_len = …",
        ),
        ('arguments = ["--port=1"]', "a free port is chosen"),
        ('arguments = "--x"', 'arguments = "--x": must be a list of strings'),
        ("arguments = ['--x', 1]", 'must hold strings only; write "1" for 1'),
        ('arguments = ["-tp", "two"]', "-tp must be followed by a positive integer"),
        ('ready_timeout = "90 sec"', "unknown unit 'sec', needs one of s, ms"),
        ("ready_timeout = 90", 'needs a unit, one of s, ms, µs, min, h; write "90 s" or "80 ms"'),
        ('ready_timeout = "soon"', "is not a number with a unit"),
        ('ready_timeout = "-1 s"', "must be at least 1"),
        ('memory_needed = "4 GBytes"', "unknown unit 'GBytes'"),
        (
            "environment = { A = 0.3 }",
            '[profile.p.model.a.environment] A = 0.3: must be a string; write "0.3"',
        ),
        ("sampling = { temperature = -0.1 }", "temperature = -0.1: must be at least 0 and at most 2"),
        ("sampling = { temprature = 0.1 }", "unknown key; did you mean temperature?"),
        ("sampling = { top_p = 0 }", "must be more than 0"),
        ("rules = { temperature = [0.7, 0.5] }", "must be [lowest, highest] within 0 to 2"),
        ("rules = { temperature = 0.6 }", "must be a list of two numbers"),
        ('rules = { accepts = ["hidden"] }', "nothing is called 'hidden'"),
        ('rules = { thinking = "yes" }', 'thinking = "yes": must be true or false'),
        ("sampling = 3", "sampling = 3: must be a table"),
        ("damage = { seed = 1 }", "[profile.p.model.a.damage] amount: missing"),
        ('base_url = "http://x"', 'base_url = "http://x": needs engine = "url"'),
        ('engine = "url"', "base_url: missing"),
        ('engine = "url"\nbase_url = "localhost"', "must begin with http:// or https://"),
        ('engine = "url"\nbase_url = "http://x"\narguments = ["--x"]', "starts nothing that could take it"),
        ("max_model_len = 512", "max_tokens (1024) must be less than max_model_len (512)"),
        ("add_arguments = []\narguments = []", "give one of the two"),
        ('extends = "c"', "unknown row"),
        ('extends = "a"', "goes in a circle: a → a"),
        ('weights = ""', "Cannot overwrite"),
    ],
)
def test_a_mistake_in_a_row_is_one_line_that_names_it(tmp_path: Path, rest: str, expected: str) -> None:
    message = complaint(tmp_path, row(rest))
    assert message.startswith("models.toml: ")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "profile: missing"),
        ("[profiles.p]", "profiles = { … }: unknown key; did you mean profile?"),
        ("[profile]", "holds no profile"),
        ("profile = 3", "must be a table"),
        ("[profile.p]\n", "[profile.p] candidate: missing"),
        ("[profile.p", "not valid TOML"),
        (HEAD + "[profile.p.model.a]", "[profile.p.model.a] weights: missing"),
        (HEAD + "[profile.p.model.b]\nweights='x'", 'candidate = "a": unknown row'),
        (
            HEAD + "[profile.p.model.a]\nextends='b'\n[profile.p.model.b]\nextends='a'",
            "in a circle: a → b → a",
        ),
        (HEAD + "model = 3", "model = 3: must be a table"),
        ("x = " + "[" * 5000, "not valid TOML"),
        ("x = " + "9" * 5000, "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in complaint(tmp_path, text)


def test_a_missing_file_a_directory_and_bytes_that_are_no_text_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such file"):
        load_catalog(tmp_path / "absent.toml")
    with pytest.raises(CatalogError, match="cannot be read: Is a directory"):
        load_catalog(tmp_path)
    (tmp_path / "latin.toml").write_bytes("a = 'é'".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"latin.toml: not UTF-8: byte 0xe9"):
        load_catalog(tmp_path / "latin.toml")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    catalog = load_catalog(SUITES / "models.toml")
    with pytest.raises(CatalogError, match=r"no profile 'embeded'; did you mean embedded\?"):
        catalog.profile("embeded")
    with pytest.raises(CatalogError, match=r"\[profile.gpu\] has no model 'distil'; did you mean distill\?"):
        catalog.profile("gpu").model("distil")
    with pytest.raises(CatalogError, match="known: distill, math"):
        catalog.profile("gpu").model("zzz")


def test_the_profile_follows_the_device_a_name_or_a_file(tmp_path: Path) -> None:
    models = SUITES / "models.toml"
    assert choose_profile(None, models, has_cuda=lambda: True).name == "gpu"
    assert choose_profile(None, models, has_cuda=lambda: False).name == "embedded"
    assert choose_profile("gpu", models, has_cuda=lambda: False).name == "gpu"
    own = tmp_path / "own.toml"
    own.write_text(row("").replace("profile.p", "profile.mine"))
    assert choose_profile(str(own), models, has_cuda=lambda: False).name == "mine"
    assert choose_profile(f"{models}#gpu", own, has_cuda=lambda: False).name == "gpu"
    with pytest.raises(CatalogError, match="did you mean gpu"):
        choose_profile("gpus", models, has_cuda=lambda: True)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("90 s", "s", 90.0),
        ("80 ms", "s", 0.08),
        ("80ms", "s", 0.08),
        ("3.6 GB", "bytes", 3.6e9),
        ("4 GiB", "bytes", 2.0**32),
        ("3 points", "points", 0.03),
        ("5 %", "share", 0.05),
        ("70 %", "share", 0.7),
        (0.05, "share", 0.05),
        (1.05, "ratio", 1.05),
        ("120 tok/s", "tok/s", 120.0),
    ],
)
def test_a_quantity_is_exactly_what_was_written(text: object, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [True, None, [], "", "s", "1 s s", "1e999 s", "nan s", "10² s", "½ s", float("inf"), 0.03]
)
def test_what_is_no_quantity_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"write|must be"):
        parse_quantity(value, "points" if value == 0.03 else "s")


@given(st.integers(1, 9999), st.sampled_from(["ms", "s"]))
def test_a_quantity_is_shown_as_it_was_written(number: int, unit: str) -> None:
    seconds = parse_quantity(f"{number} {unit}", "s")
    assert parse_quantity(format_size(seconds, "s"), "s") == pytest.approx(seconds, rel=1e-3)


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_raise_anything_but_its_own_error(text: str) -> None:
    try:
        value = parse_quantity(text, "s")
    except ValueError:
        return
    assert value == value


@pytest.mark.parametrize(
    ("written", "unit", "value"),
    [
        ("80\u00a0ms", "s", 0.08),
        ("80\u202fms", "s", 0.08),
        ("80 \u03bcs", "s", 80e-6),
        ("80 \u00b5s", "s", 80e-6),
        ("80 us", "s", 80e-6),
        ("\u22123 points", "points", -0.03),
        ("\u20113 points", "points", -0.03),
        ("\uff18\uff10\u3000\uff4d\uff53", "s", 0.08),
        ("\uff15\uff05", "share", 0.05),
        ("\u0668\u0660 ms", "s", 0.08),
        ("\ufeff80 ms\u200b", "s", 0.08),
    ],
)
def test_characters_that_look_like_those_of_a_quantity_are_them(
    written: str, unit: Any, value: float
) -> None:
    assert parse_quantity(written, unit) == pytest.approx(value, rel=1e-12)


def test_a_byte_order_mark_is_no_part_of_a_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        '[profile.p]\ncandidate = "a"\nbaseline = "a"\n[profile.p.model.a]\nweights = "o/a"\n', "utf-8-sig"
    )
    assert load_catalog(path).profile("p").candidate == "a"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("temperature = \u22120.6", "MINUS SIGN"),
        ('says =\u00a0"x"', "NO-BREAK SPACE"),
        ("says = \u201cx\u201d", "LEFT DOUBLE QUOTATION MARK"),
        ("n = \uff11", "FULLWIDTH DIGIT ONE"),
    ],
)
def test_a_character_that_only_looks_like_toml_is_named(tmp_path: Path, line: str, hint: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f"[profile.p]\n{line}\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=f"not valid TOML.*at line 2.*{hint}.*write"):
        load_catalog(path)


ROW = '[profile.p]\ncandidate = "a"\nbaseline = "a"\n[profile.p.model.a]\n'


def row_of(directory: Path, text: str) -> Model:
    (directory / "models.toml").write_text(ROW + text, encoding="utf-8")
    return load_catalog(directory / "models.toml").profile("p").model("a")


def test_paths_of_a_catalogue_are_relative_to_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suites" / "org" / "local").mkdir(parents=True)
    (tmp_path / "suites" / "chat.jinja").touch()
    (tmp_path / "org" / "elsewhere").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "suites"

    def row(weights: str) -> str:
        return row_of(Path("suites"), f"weights = {weights!r}\n").weights

    assert row("./w") == row("w/x/y/../../../w") == str(here / "w")
    assert row("../w") == str(tmp_path / "w")
    assert row("org/local") == str(here / "org" / "local"), "a directory wins over a hub id of its name"
    assert row("org/elsewhere") == "org/elsewhere"
    assert row("embedded:tiny-math") == "embedded:tiny-math"
    found = row_of(
        Path("suites"),
        'weights = "o/a"\nengine_python = "venv/bin/python"\narguments = ["--chat-template", "chat.jinja", '
        '"--lora_modules", "t=./adapter", "--tokenizer=../tok", "--served-thing", "chat.jinja"]\n',
    )
    assert found.engine_python == str(here / "venv" / "bin" / "python")
    assert found.arguments == (
        *("--chat-template", str(here / "chat.jinja"), "--lora_modules", f"t={here / 'adapter'}"),
        *(f"--tokenizer={tmp_path / 'tok'}", "--served-thing", "chat.jinja"),
    )


def test_an_interpreter_by_its_name_is_looked_up_on_the_path(tmp_path: Path) -> None:
    assert row_of(tmp_path, 'weights = "o/a"\nengine_python = "python3.12"\n').engine_python == "python3.12"


@pytest.mark.parametrize(
    "text",
    [
        'weights = "a\\u0000b"',
        'weights = "o/a"\narguments = ["--x\\u0000"]',
        'weights = "o/a"\n[profile.p.model.a.environment]\nX = "\\u0000"',
        'weights = "o/a"\n[profile.p.model.a.environment]\n"A=B" = "x"',
    ],
)
def test_what_the_system_cannot_be_given_is_a_mistake_of_the_catalogue(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogError, match="NUL"):
        row_of(tmp_path, text)


@pytest.mark.parametrize(
    "argument",
    ["--max_model_len=512", "--max-model=512", "-q", "--dt", "--gpu_memory_utilization", "--api_key=x"],
)
def test_what_the_catalogue_says_is_not_said_again_in_any_spelling(tmp_path: Path, argument: str) -> None:
    with pytest.raises(CatalogError, match="is not an argument of a row"):
        row_of(tmp_path, f'weights = "o/a"\narguments = ["{argument}", "x"]\n')


VALUES = ["3", "-1", "true", "nan", '""', '" "', "[]", "[1, 'a']", "{ a = 1 }", "1979-05-27", "'x'"]


@pytest.mark.parametrize(
    "key", [*ROW_KEYS, *(f"sampling.{key}" for key in keys_of(Sampling)), "rules.accepts"]
)
@pytest.mark.parametrize("value", VALUES)
def test_whatever_stands_at_a_key_is_read_or_refused_in_one_line(
    tmp_path: Path, key: str, value: str
) -> None:
    text = (
        f"{HEAD}[profile.p.model.a]\n"
        + ("" if key == "weights" else 'weights = "o/a"\n')
        + f"{key} = {value}\n"
    )
    with contextlib.suppress(CatalogError):
        load(tmp_path, text)
        return
    message = complaint(tmp_path, text)
    assert message.startswith("models.toml: [profile.p.model.a")
    assert key.rpartition(".")[2] in message


def test_names_that_the_reader_sets_itself_are_no_keys_of_a_row(tmp_path: Path) -> None:
    assert '[profile.p.model.a] name = "b": unknown key' in complaint(tmp_path, row('name = "b"'))
    assert '[profile.p] file = "b": unknown key' in complaint(tmp_path, f'{HEAD}file = "b"\nmodel = {{}}')
