"""The shipped suite of forms on real vLLM: a tiny model's replies follow their schemas, and those of a server that
drops the form do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_planted_regressions import REPOSITORY, gate

pytestmark = pytest.mark.vllm
SUITES = REPOSITORY / "suites"
FORMLESS = f"""
[profile.embedded.model.distill-formless]
extends = "distill"
add_arguments = ["--middleware", "tests.fakes.drops_form.drop_response_format"]
[profile.embedded.model.distill-formless.environment]
PYTHONPATH = "{REPOSITORY}"

[profile.embedded.sizes]
items = 60
"""


def test_guided_decoding_is_green_and_a_server_that_drops_the_form_red(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text((SUITES / "models.toml").read_text() + FORMLESS)
    code, verdicts, output = gate(
        tmp_path / "record.json",
        str(SUITES / "test_structured_output.py"),
        *(
            "--llmperf-models",
            str(tmp_path / "models.toml"),
            "--llmperf-budgets",
            str(SUITES / "budgets.toml"),
        ),
        *("--model", "distill", "--model", "distill-formless", "--baseline", "distill"),
    )
    assert code == 1, output
    seen = {str(verdict["test"]).rpartition("::")[2]: verdict["status"] for verdict in verdicts}
    assert seen == {
        "test_replies_follow_their_schema[distill]": "PASS",
        "test_replies_follow_their_schema[distill-formless]": "FAIL",
    }, output
