"""The manifests of ``contrib/kubernetes`` are valid, and what they say of exit codes and shards is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pytest_llmperf.runs.exit_codes import UNDECIDED

DIRECTORY = Path(__file__).resolve().parents[2] / "contrib" / "kubernetes"
MANIFESTS = sorted(DIRECTORY.glob("*.yaml"))
NIGHT = "20261201"
OLDEST, NEWEST = "1.33", "1.37"
"""Releases of Kubernetes; ``backoffLimitPerIndex`` is stable since the first."""


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def values(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_follows_the_schema_of_kubernetes(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text(encoding="utf-8")), version, strict=True)


def test_the_validator_refuses_a_key_that_does_not_exist() -> None:
    job = manifest("shards")
    job["spec"]["backoffLimitPerShard"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, NEWEST, strict=True)


def test_a_shard_that_was_evicted_runs_again_and_a_red_one_never() -> None:
    job = manifest("shards")["spec"]
    evicted, ended = job["podFailurePolicy"]["rules"]
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    codes = {int(code) for code in pytest.ExitCode} - {0} | {UNDECIDED}
    assert (ended["action"], ended["onExitCodes"]["operator"]) == ("FailIndex", "In")
    assert codes <= set(ended["onExitCodes"]["values"]) <= codes | {6}  # 6: --max-warnings, since pytest 9.1
    assert ended["onExitCodes"]["containerName"] in [
        each["name"] for each in pod(manifest("shards"))["containers"]
    ]
    # Both are what Kubernetes asks of a job with these rules, beside the schema.
    assert pod(manifest("shards"))["restartPolicy"] == "Never"
    assert job["completionMode"] == "Indexed"
    assert job["backoffLimitPerIndex"] > 0


def test_a_merge_is_made_once_unless_its_pod_was_evicted() -> None:
    job = manifest("merge")["spec"]
    [evicted] = job["podFailurePolicy"]["rules"]
    assert (job["backoffLimit"], evicted["action"]) == (0, "Ignore")


def test_the_job_has_as_many_pods_as_shards() -> None:
    job = manifest("shards")
    [gate] = pod(job)["containers"]
    assert values(gate)["LLMPERF_SHARDS"] == str(job["spec"]["completions"])


def test_both_jobs_speak_of_one_night() -> None:
    for name in ("shards", "merge"):
        job = manifest(name)
        [container] = pod(job)["containers"]
        assert NIGHT in job["metadata"]["name"]
        assert values(container)["LLMPERF_NIGHT"] == NIGHT
        assert container["image"].endswith(f":{NIGHT}")
    text = "".join(path.read_text(encoding="utf-8") for path in MANIFESTS)
    assert set(re.findall(r"\b20\d{6}\b", text)) == {NIGHT}


@pytest.mark.parametrize("name", ["shards", "merge"])
def test_a_container_writes_to_volumes_alone_and_has_no_rights(name: str) -> None:
    spec = pod(manifest(name))
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in spec["volumes"]}
    places = {each["mountPath"] for each in container["volumeMounts"]}
    assert {values(container)[key] for key in ("RECORDS", "HOME", "TMPDIR")} <= places


def test_a_secret_is_never_written_into_a_manifest() -> None:
    [gate] = pod(manifest("shards"))["containers"]
    secret = {entry["name"] for entry in gate["env"] if "valueFrom" in entry}
    assert {"HF_TOKEN", "LLMPERF_API_KEY"} == secret
    assert all(not re.search("KEY|TOKEN|SECRET", name) for name in values(gate))
