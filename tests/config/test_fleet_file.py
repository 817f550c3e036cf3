"""``fleet.toml``: each mistake is one line that says what would be right, and nothing is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.config.fleet_file import FleetFile, read_fleet
from pytest_llmperf.config.toml_errors import keys_of
from pytest_llmperf.errors import CatalogError

LEAST = 'suites = ["suites/"]\nshards = 4\ngpus = 1\n'


def read(directory: Path, text: str) -> str:
    """The message about a file with this text."""
    (directory / "fleet.toml").write_text(text)
    with pytest.raises(CatalogError) as raised:
        read_fleet(directory / "fleet.toml")
    message = str(raised.value)
    assert message.startswith("fleet.toml:")
    return message


def test_what_the_shards_are_given(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(f'models = ["a", "b"]\noptions = ["-m", "not slow"]\n{LEAST}')
    fleet = read_fleet(tmp_path / "fleet.toml")
    assert fleet.pytest_arguments() == [
        "suites/", "--llmperf-model", "a", "--llmperf-model", "b", "-m", "not slow",
    ]  # fmt: skip
    assert (fleet.cpus, fleet.address, fleet.node_deaths, fleet.stop_s) == (1.0, None, 2, 60.0)
    assert Path(fleet.tree) == tmp_path


def test_the_guide_shows_a_file_that_can_be_read_with_every_key(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/fleet.md").read_text(encoding="utf-8")
    text = guide.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "fleet.toml").write_text(text)
    read_fleet(tmp_path / "fleet.toml")
    told = {line.partition(" =")[0].lstrip("# ").strip("[]") for line in text.splitlines()}
    assert {*keys_of(FleetFile)} - told == {"tree", "autoscaling"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "suites: missing"),
        ('suites = ["suites/"]\nshards = 4\n', "gpus: missing"),
        ("suites = []\nshards = 4\ngpus = 1\n", 'must name what to run, as in ["suites/"]'),
        (LEAST.replace("4", "0"), "shards = 0: must be at least 1 and at most 10000"),
        (LEAST.replace("gpus = 1", "gpus = -1"), "must be at least 0"),
        (f"shard = 3\n{LEAST}", "unknown key; did you mean shards?"),
        (f"cpus = 0\n{LEAST}", "must be more than 0"),
        (f'tree = "nowhere"\n{LEAST}', "is no directory"),
        (f'address = "ray://head:10001"\n{LEAST}', "must be auto or host:port"),
        (f'stop_within = "0 s"\n{LEAST}', "must be at least 1"),
        (f"{LEAST}[resources]\nh200 = 0\n", "must be more than 0"),
        *(
            (f'options = ["{option}"]\n{LEAST}', f"{option.partition('=')[0]} is not for you to give")
            for option in (
                "--llmperf-shard=1/4",
                "--llmperf-order",
                "--llmperf-record=x.json",
                "--llmperf-add=x",
            )
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    assert why in read(tmp_path, text)
