"""A server whose answers are empty, leak tags, refuse, change language or grow is red by that gate, and by no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_empty(candidate, answers):
        assert answers(candidate).empty <= 0.02

    def test_leaked(candidate, answers):
        assert answers(candidate).leaked <= 0.02

    def test_refused(candidate, answers):
        assert answers(candidate).refused <= 0.02

    def test_one_language(candidate, answers):
        assert answers(candidate).language_switches <= 0.02

    def test_longest(candidate, baseline, answers):
        assert answers(candidate).length <= answers(baseline).length * 1.1

    def test_shortest(candidate, baseline, answers):
        assert answers(candidate).length >= answers(baseline).length * 0.9
"""
FAULTY = """
    import os, runpy
    solved = runpy.run_path({solver!r})["answer"]
    FAULTS = {{
        "empty": lambda text: "\\u200b",
        "leaks": lambda text: text + "<|im_end|>",
        "refuses": lambda text: "I'm sorry, but I can't help.",
        "switches": lambda text: text.replace("answer", "\\u7b54\\u6848" * 5, 1),
        "longer": lambda text: "well " * 9 + text,
        "shorter": lambda text: text.rpartition(" ")[2],
    }}
    def answer(request):
        text = solved(request)
        fault = os.environ.get("FAKE_ENGINE_FAULT", "")
        every = 1 if fault in ("longer", "shorter") else 6
        chosen = sum(request["text"].encode()) % every == 0
        return FAULTS[fault](text) if fault and chosen else text
"""


def test_each_fault_is_red_by_its_own_gate(project: Project, solver: str) -> None:
    said = {"ANSWERS": project.answers(FAULTY.format(solver=solver))}
    faults = ("empty", "leaks", "refuses", "switches", "longer", "shorter")
    project.catalog({"distill": said, "math": said, **{fault: {**said, "FAULT": fault} for fault in faults}})
    project.shrink(items=300)
    project.suite(SUITE)
    models = [f"--llmperf-model={name}" for name in ("distill", *faults)]
    result, verdicts = project.judged(*models)
    red = {(each["test"].partition("::")[2], each["status"]) for each in verdicts if each["status"] != "PASS"}
    # An answer that refuses in a few words is also shorter, and so is an empty one: both may be undecided or red there.
    own = {
        ("test_empty[empty]", "FAIL"),
        ("test_leaked[leaks]", "FAIL"),
        ("test_refused[refuses]", "FAIL"),
        ("test_one_language[switches]", "FAIL"),
        ("test_longest[longer]", "FAIL"),
        ("test_shortest[shorter]", "FAIL"),
    }
    assert own <= red, result.text
    beside = {test for test, _ in red - own}
    assert beside <= {
        f"test_{gate}[{row}]" for gate in ("longest", "shortest") for row in ("empty", "refuses", "leaks")
    } | {f"test_{gate}[empty]" for gate in ("leaked", "refused", "one_language")}, result.text
    shares = {entry["row"]: entry for entry in project.record()["answers"]}
    assert shares["empty"]["empty"] > 0.1
    assert shares["leaks"]["leaked"] > 0.1
    assert shares["refuses"]["refused"] > 0.1
    assert (shares["distill"]["empty"], shares["distill"]["leaked"], shares["distill"]["refused"]) == (
        0,
        0,
        0,
    )
