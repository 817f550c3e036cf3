"""The handle of a row that another row's server serves, without any server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pytest_llmperf.config.models import Model, Sampling
from pytest_llmperf.errors import NotMeasured, StartError
from pytest_llmperf.measure.guest import Guest
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.one_server import refuse_of_guest, refuse_one_model
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts.variants import model_default
from pytest_llmperf.serving.content import Content, identity_of
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.tasks.continuations import Continuation
from pytest_llmperf.tasks.task import Item, Task

BASE = Model(name="base", profile="p", weights="org/base")
TUNED = replace(BASE, name="tuned", adapter_of="base", adapter="/a")
HOT = replace(BASE, name="hot", alias_of="base", sampling=Sampling(temperature=0.9))
OTHER = replace(BASE, name="other")
SERVER = Server("base", "base", "http://127.0.0.1:1", None, None, 1, 2.0, "vllm serve", "vllm 0.32.0")


class Running(Served):
    """A base whose server runs."""

    def running(self) -> Server:
        return SERVER


@pytest.fixture
def base(tmp_path: Path) -> Served:
    return Running(BASE, tmp_path, print, guests=(HOT, TUNED))


def guest(base: Served, model: Model) -> Guest:
    return Guest(model, base, Path("/nowhere"), print)


def test_its_server_is_the_hosts_under_its_own_name(base: Served) -> None:
    tuned = guest(base, TUNED)
    assert tuned.server == replace(SERVER, row="tuned", model="tuned", counted_as="base")
    assert tuned.host is base is base.host
    assert repr(tuned) == "<tuned → adapter /a on org/base, served by base>"


def test_a_failure_of_its_own_does_not_touch_the_host(base: Served) -> None:
    tuned = guest(base, TUNED)
    tuned.refuse(StartError("no"))
    with pytest.raises(StartError):
        _ = tuned.server
    assert base.server is SERVER


def test_it_has_no_lease_to_give_back_and_tells_no_start(base: Served) -> None:
    tuned = guest(base, TUNED)
    assert tuned.release() is None
    assert tuned.milestones() is None
    facts = tuned.facts()
    assert (facts["row"], facts["server_of"], facts["adapter"]) == ("tuned", "base", "/a")
    assert "ready_s" not in facts


@pytest.mark.parametrize("model", [TUNED, HOT])
def test_what_a_guest_does_not_have_apart_is_refused(base: Served, model: Model) -> None:
    with pytest.raises(NotMeasured, match=f"the peak of memory of {model.name} is not known: it is an a"):
        refuse_of_guest(guest(base, model), "the peak of memory", (model, BASE))


def test_a_base_with_adapters_has_no_memory_to_compare_with_another_server(base: Served) -> None:
    refuse_of_guest(base, "the peak of memory", (TUNED, BASE))
    with pytest.raises(
        NotMeasured, match="its server has the adapter tuned as well, while other has a server of its own"
    ):
        refuse_of_guest(base, "the peak of memory", (TUNED, OTHER, BASE))
    refuse_of_guest(Served(BASE, Path("/nowhere"), print, guests=(HOT,)), "the peak", (HOT, OTHER, BASE))


def test_two_names_of_one_model_are_not_compared_and_other_pairs_are() -> None:
    for model, other in ((HOT, BASE), (BASE, HOT)):
        with pytest.raises(NotMeasured, match=r"the speed of .* would compare a server with itself"):
            refuse_one_model(model, (model, OTHER, other), "the speed")
    refuse_one_model(TUNED, (TUNED, BASE, HOT, OTHER), "the speed")
    refuse_one_model(BASE, (BASE, TUNED, OTHER), "the speed")


def test_answers_of_base_adapter_and_alias_are_kept_apart() -> None:
    spec = ServerSpec(row="base", served_model="base", argv=("python", "serve"))
    content = Content("0" * 64, adapters={"tuned": "1" * 64})
    keys = [
        identity_of(BASE, SERVER, spec, content, "CPU").key,
        identity_of(TUNED, SERVER, spec, content.of_guest("tuned"), "CPU").key,
        identity_of(HOT, SERVER, spec, content.of_guest("hot"), "CPU").key,
        identity_of(
            TUNED, SERVER, spec, Content("0" * 64, adapters={"tuned": "2" * 64}).of_guest("tuned"), "CPU"
        ).key,
    ]
    assert len(set(keys)) == 4
    # An adapter that was trained anew changes nothing about its base's answers.
    anew = Content("0" * 64, adapters={"tuned": "2" * 64})
    assert identity_of(BASE, SERVER, spec, anew, "CPU").key == keys[0]


def test_a_row_and_its_alias_are_not_asked_for_log_probabilities_of_the_same_texts(base: Served) -> None:
    task = cast("Task", SimpleNamespace(name="own_choice"))
    items = [Item("1", "", "", continuations=(Continuation("a", " b"),))]
    run = cast("Measurements", SimpleNamespace(rows=(HOT, BASE)))
    with pytest.raises(NotMeasured, match=r"own_choice of base and hot would compare a server with itself"):
        Measurements.samples(run, base, task, items, model_default)
    run = cast("Measurements", SimpleNamespace(rows=(TUNED, BASE)))
    assert Measurements.samples(run, base, task, items, model_default) == 1
