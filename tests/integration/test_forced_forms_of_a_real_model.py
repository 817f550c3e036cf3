"""Forced forms and tool calls of a model that somebody else trained, SmolLM2-135M-Instruct, on real vLLM.

One server has both rows: requests to the alias lose their form and their tools on the way to the engine.
"""

from __future__ import annotations

from pathlib import Path

from tests.fakes.drops_form import FORMLESS
from tests.integration.test_planted_regressions import gate
from tests.smollm2 import MARKS, REPOSITORY, converted

pytestmark = MARKS
CATALOGUE = f"""
[profile.real]
candidate = "sound"
baseline = "sound"
task = "embedded"
needs_cuda = false
[profile.real.sizes]
items = 8
in_flight = 8
most_in_flight = 8

[profile.real.model.sound]
weights = "WEIGHTS"
arguments = [
  "--enforce-eager", "--max-num-seqs", "8",
  "--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor",
  "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
  "--structured-outputs-config", '{{"backend": "xgrammar", "disable_any_whitespace": true}}',
  "--middleware", "tests.fakes.drops_form.drop_for_formless",
]
dtype = "float32"
max_model_len = 1024
gpus = 0
ready_timeout = "15 min"
[profile.real.model.sound.environment]
OMP_NUM_THREADS = "1"
PYTHONPATH = "{REPOSITORY}"
[profile.real.model.sound.sampling]
temperature = 0.0
max_tokens = 128
[profile.real.model.sound.rules]
protocol = "chat"
accepts = ["hidden-system"]

[profile.real.model.{FORMLESS}]
alias_of = "sound"
served_name = "{FORMLESS}"
[profile.real.model.{FORMLESS}.sampling]
temperature = 0.0
max_tokens = 24
"""
TASKS = """
import dataclasses
import json

from pytest_llmperf.tasks.tool_calls import FORCED_TOOL_CALLS, ToolRequests


@dataclasses.dataclass(frozen=True)
class Forced(ToolRequests):
    # An address may be of any length, and a small model writes it until its limit.
    required: bool = False

    def items(self, data_dir):
        asked = [item for item in super().items(data_dir) if '"email"' not in json.dumps(item.tools)]
        return [dataclasses.replace(item, tool_choice="required") for item in asked] if self.required else asked


def pytest_llmperf_tasks(config):
    return [
        dataclasses.replace(FORCED_TOOL_CALLS, name="named", source=Forced(forced=True)),
        dataclasses.replace(FORCED_TOOL_CALLS, name="required", source=Forced(forced=True, required=True)),
    ]
"""
SUITE = """
def test_forms(candidate, structured):
    assert structured(candidate).valid_schema >= 0.5

def test_named_calls(candidate, tool_calls):
    assert tool_calls(candidate, "named").valid_arguments >= 0.5

def test_required_calls(candidate, tool_calls):
    assert tool_calls(candidate, "required").valid_arguments >= 0.5
"""


def test_what_the_grammar_forces_is_green_and_red_where_the_request_loses_it(tmp_path: Path) -> None:
    catalogue = CATALOGUE.replace("WEIGHTS", str(converted(tmp_path / "weights")))
    (tmp_path / "models.toml").write_text(catalogue)
    (tmp_path / "budgets.toml").write_text("")
    (tmp_path / "conftest.py").write_text(TASKS)
    (tmp_path / "test_forms.py").write_text(SUITE)
    code, verdicts, output = gate(
        tmp_path / "record.json",
        str(tmp_path / "test_forms.py"),
        *("--rootdir", ".", "-c", "pyproject.toml"),
        *("--llmperf-models", str(tmp_path / "models.toml"), "--llmperf-profile", "real"),
        *("--llmperf-budgets", str(tmp_path / "budgets.toml")),
        *("--model", "sound", "--model", FORMLESS, "--baseline", "sound"),
        *("--llmperf-order", "1"),
    )
    assert code == 1, output
    seen = {str(verdict["test"]).rpartition("::")[2]: verdict for verdict in verdicts}
    assert {name: verdict["status"] for name, verdict in seen.items()} == {
        "test_forms[sound]": "PASS",
        "test_named_calls[sound]": "PASS",
        "test_required_calls[sound]": "PASS",
        f"test_forms[{FORMLESS}]": "FAIL",
        f"test_named_calls[{FORMLESS}]": "FAIL",
        f"test_required_calls[{FORMLESS}]": "FAIL",
    }, output
    assert all(verdict["observed"] == 0.0 for name, verdict in seen.items() if FORMLESS in name), output
