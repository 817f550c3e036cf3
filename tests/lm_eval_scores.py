"""The scores that lm-evaluation-harness itself gives the replies of the stand-in engine, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# A coefficient over all items is no score of one.
_COLLECT = """
import json
scores = {}
for task, samples in found["samples"].items():
    for sample in samples:
        for metric in sample["metrics"]:
            if metric != "mcc":
                scores[f"{task}-{sample['doc_id']} {metric},{sample['filter']}"] = float(sample[metric])
json.dump(scores, open("scores.json", "w"))
"""


def scores_of_lm_eval(project: Project, judge: str) -> dict[str, float]:
    """By ``ITEM METRIC,FILTER``. ``judge``: code that leaves what ``simple_evaluate`` returned in ``found``."""
    folder = project.path / "data" / "lm_eval"
    command = [sys.executable, "-c", judge + _COLLECT]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    found: dict[str, float] = json.loads((folder / "scores.json").read_text())
    return found
