"""JUnit of a merged run, which pytest did not write: a test case for each test, and the properties of its gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from xml.etree import ElementTree

from pytest_llmperf.gates.judgement import is_green
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.report.exporters.base import FileExporter, RunResults
from pytest_llmperf.report.exporters.junit import gate_properties, run_properties
from pytest_llmperf.visible_text import printable


class JunitFileExporter(FileExporter):
    """Writes a file as that of pytest's ``--junitxml``; a gate that does not pass is a failure of its test."""

    def unfinished(self, about: Mapping[str, str]) -> str:
        del about
        suite = ElementTree.Element("testsuite", name="pytest", tests="0", failures="0", errors="1")
        return _text(suite)

    def text(self, results: RunResults) -> str:
        tests: dict[str, list[Verdict]] = {}
        for gate in results.gates:
            tests.setdefault(gate.test, []).append(gate.verdict)
        suite = ElementTree.Element("testsuite", name="pytest")
        _properties(suite, run_properties(results))
        failures = 0
        for test, verdicts in tests.items():
            file, _, name = test.partition("::")
            classname = file.removesuffix(".py").replace("/", ".")
            case = ElementTree.SubElement(
                suite, "testcase", classname=classname, name=printable(name or file)
            )
            _properties(case, chain.from_iterable(map(gate_properties, verdicts)))
            if red := [v for v in verdicts if not is_green(v, results.policy)]:
                failures += 1
                why = f"{red[0].status.value}: {red[0].why}"
                ElementTree.SubElement(case, "failure", message=printable(why)).text = printable(
                    red[0].detail
                )
        for problem in results.problems:
            case = ElementTree.SubElement(
                suite, "testcase", classname="pytest-llmperf", name="the run as a whole"
            )
            ElementTree.SubElement(case, "error", message=printable(problem))
        suite.set("tests", str(len(tests) + len(results.problems)))
        suite.set("failures", str(failures))
        suite.set("errors", str(len(results.problems)))
        return _text(suite)


def _properties(parent: ElementTree.Element, values: Iterable[tuple[str, str]]) -> None:
    inner = ElementTree.SubElement(parent, "properties")
    for name, value in values:
        ElementTree.SubElement(inner, "property", name=name, value=value)


def _text(suite: ElementTree.Element) -> str:
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )
