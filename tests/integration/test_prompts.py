"""Faults of a prompt are planted on either side, and found before the first question is asked; the record shows one."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    from pytest_llmperf import points

    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5

    def test_margin(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(60)
"""
ANSWERS = """
    import runpy
    SOLVER = runpy.run_path({solver!r})["answer"]
    def answer(request):
        if request.get("max_tokens", 0) > 100:
            with open({log!r}, "a") as file:
                file.write(request["model"] + chr(10))
        return SOLVER(request)
"""
PLAIN = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[assistant] "
HIDES = "[system] Answer as a pirate would. " + PLAIN
OPENS = PLAIN + "<think>\n"
BEGINS = "{{ bos_token }} " + PLAIN
FAULTS = {
    # what is planted: the row's keys, the template, the rest of the tokenizer's configuration; words of the reason
    "hidden-system": ("", HIDES, {}, ["adds text that was not sent", "Answer as a pirate would"]),
    "doubled-think": (
        'rules = { thinking = true, instruction = "Think. <think>" }',
        OPENS,
        {},
        ["opened with <think> 2 times", "needs one"],
    ),
    "bos": ("", PLAIN, {"add_bos_token": True, "bos_token": "<s>"}, ["does not begin with '<s>'"]),
    "too-long": ("max_model_len = 1040", PLAIN, {}, ["tokens", "1,024 (max_tokens)", "1,040", "16 are left"]),
}


def plant(project: Project, fault: str, row: str, more: str = "") -> None:
    """A row like ``distill`` with that fault."""
    keys, template, about, _ = FAULTS[fault]
    directory = project.path / f"weights-{fault}"
    shutil.copytree(project.path / "weights", directory)
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(config | about | {"chat_template": template}))
    text = f'[profile.test.model.{row}]\nextends = "distill"\nweights = "{directory}"\n{keys}\n{more}\n'
    project.write("models.toml", (project.path / "models.toml").read_text() + text)


@pytest.fixture
def asking(project: Project, solver: str) -> Project:
    source = ANSWERS.format(solver=solver, log=str(project.path / "asked"))
    answers = str(project.write("answers.py", textwrap.dedent(source)))
    project.catalog({row: {"ANSWERS": answers, "RIGHT_PERCENT": 100} for row in ("distill", "math")})
    project.suite(SUITE)
    project.shrink(items=60)
    return project


def asked(project: Project) -> set[str]:
    path = project.path / "asked"
    return set(path.read_text().split()) if path.exists() else set()


def test_every_fault_is_named_before_the_first_question(asking: Project) -> None:
    for fault in FAULTS:
        plant(asking, fault, f"with-{fault}")
    result, verdicts = asking.judged(*(f"--model=with-{fault}" for fault in FAULTS))
    assert result.code == 1, result.text
    assert result.noise == []
    assert asked(asking) == set()
    assert [one["status"] for one in verdicts] == ["INVALID"] * 2 * len(FAULTS)
    prompts = {one["row"]: one for one in asking.record()["prompts"]}
    for fault, (_, _, _, words) in FAULTS.items():
        assert result.lines(f"with-{fault}: embedded was not asked:", "(item ", *words), result.text
        assert result.lines("what to do:", f'accepts = ["{fault}"]'), result.text
        assert [one["rule"] for one in prompts[f"with-{fault}"]["findings"]] == [fault]


@pytest.mark.parametrize("fault", ["hidden-system", "too-long"])
def test_a_fault_of_the_baseline_is_named_and_it_is_not_asked(asking: Project, fault: str) -> None:
    plant(asking, fault, "other")
    result, verdicts = asking.judged("--baseline", "other")
    assert result.code == 1, result.text
    assert asked(asking) == {"distill"}
    assert [one["status"] for one in verdicts] == ["PASS", "INVALID"]
    assert result.lines("other: embedded was not asked:", *FAULTS[fault][3]), result.text


def test_what_a_row_accepts_refuses_nothing_and_is_in_the_record(asking: Project) -> None:
    plant(asking, "hidden-system", "pirate", 'rules = { accepts = ["hidden-system"] }')
    result, verdicts = asking.judged("--model", "pirate")
    assert result.code == 0, result.text
    assert [one["status"] for one in verdicts] == ["PASS", "PASS"]
    candidate, baseline = asking.record()["prompts"]
    assert (candidate["row"], baseline["row"]) == ("pirate", "math")
    assert candidate["example"].startswith("[system] Answer as a pirate would. [user] ")
    assert candidate["findings"][0]["items"] == candidate["count"] > 0
    assert baseline["findings"] == []


def test_the_record_has_the_prompts_fingerprint_and_one_to_read(asking: Project) -> None:
    result, _ = asking.judged("--llmperf-full")
    assert result.code == 0, result.text
    distill, math = asking.record()["prompts"]
    assert distill["count"] == math["count"] == 60
    assert distill["sha256"] == math["sha256"]
    assert distill["example"].startswith("user: ")
    assert distill["example"].endswith("\nassistant: ")
    assert distill["example_item"]
    assert (distill["rendered_by"], distill["same_on_server"]) == ("template", True)
    assert (distill["counted_by"], distill["limit_tokens"]) == ("server", 2048)
    assert 10 < distill["longest_tokens"] < 1024


def test_a_server_with_another_template_than_the_weights_is_found(asking: Project) -> None:
    other = asking.write("other.jinja", HIDES)
    with (asking.path / "models.toml").open("a") as catalog:
        catalog.write(
            '[profile.test.model.other]\nextends = "distill"\n'
            f'[profile.test.model.other.environment]\nFAKE_ENGINE_TEMPLATE = "{other}"\n'
        )
    result, verdicts = asking.judged("--model", "other")
    assert [one["status"] for one in verdicts] == ["INVALID", "INVALID"]
    assert asked(asking) == set()
    assert result.lines("other: embedded was not asked:", "the server reads '[system] Answer as a pirate"), (
        result.text
    )


def test_a_server_that_does_not_tell_is_asked_and_the_record_says_so(asking: Project) -> None:
    with (asking.path / "models.toml").open("a") as catalog:
        catalog.write(
            '[profile.test.model.silent]\nextends = "distill"\n'
            '[profile.test.model.silent.environment]\nFAKE_ENGINE_TOKENIZE = "0"\n'
        )
    result, _ = asking.judged("--model", "silent")
    assert result.code == 0, result.text
    silent = asking.record()["prompts"][0]
    assert (silent["row"], silent["rendered_by"], silent["same_on_server"]) == ("silent", "template", None)
