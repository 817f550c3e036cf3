"""Keys, tokens, user names and home directories are planted, and searched for in everything that a run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

PERSON = "plantedperson"
PLANTED = {
    "HF_TOKEN": "hf_PlantedPlantedPlanted",
    "OPENAI_API_KEY": "sk-planted-planted-planted",
    "GATEWAY_SECRET": "planted-secret-planted",
    "USER": PERSON,
    "LOGNAME": PERSON,
}


def test_nothing_that_is_planted_is_found_in_anything_that_is_written(project: Project) -> None:
    home = project.path / "home" / "plantedperson"
    home.mkdir(parents=True)
    secrets = [value for value in PLANTED.values() if value != PERSON]
    said = " ".join([*secrets, f"/data/{PERSON}/x {PERSON}@host", str(home / "models")])
    path = project.answers(f"def answer(request): return {said!r} + ' \\\\boxed{{1}}'")
    project.catalog({"distill": {"ANSWERS": path}})
    project.shrink(items=20)
    # The model says them, a suite asserts on them, the engine's log and a failure's words hold them.
    project.suite(f"""
        from pytest_llmperf.errors import InfrastructureError
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.9
        def test_breaks(candidate):
            with candidate.server.log.open("a") as log:
                log.write("user plantedperson, " + {said!r} + candidate.server.api_key)
            raise InfrastructureError({said!r} + " for plantedperson " + candidate.server.api_key)
    """)
    cache = project.path / "cache"
    result = project.run(
        *(
            "--llmperf-record",
            "out/record.json",
            "--junit-xml",
            "out/junit.xml",
            "--llmperf-markdown",
            "out/s.md",
        ),
        *("--llmperf-metrics", "out/m.prom", "-o", f"cache_dir={cache}"),
        environment=PLANTED
        | {"HOME": str(home), "GITHUB_STEP_SUMMARY": str(project.path / "out/summary.md")},
        options=("-p", "llmperf", "-p", "llmperf_model"),
    )
    assert result.code == 1, result.text
    written = [*(project.path / "out").rglob("*"), *cache.rglob("*")]
    texts = {str(file): file.read_bytes() for file in written if file.is_file()}
    assert {"record.json", "record.html", "junit.xml", "s.md", "m.prom", "summary.md"} <= {
        f.name for f in written
    }
    assert any(name.endswith(".parquet") for name in texts)
    assert any(name.endswith(".log") for name in texts)
    assert any("llmperf-answers" in name for name in texts)
    from pyarrow import parquet

    for name in [name for name in texts if name.endswith(".parquet")]:
        texts[f"{name}, read"] = str(parquet.read_table(name).to_pylist()).encode()
    texts["terminal"] = result.text.encode()
    for name, data in texts.items():
        for secret in (*PLANTED.values(), str(home)):
            if name == "terminal" and "rootdir" in result.text and secret == "plantedperson":
                continue  # what pytest itself says of where it runs
            assert secret.encode() not in data, f"{secret} in {name}"
