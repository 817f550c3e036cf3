"""A row that another row's server serves: an adapter or an alias.

It starts nothing and ends nothing: its server is its host's, asked under the row's own name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import ServerDied
from pytest_llmperf.json_values import Json, object_of
from pytest_llmperf.measure.book import UNBOOKED, Book
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving.content import Content
from pytest_llmperf.serving.lease import Released
from pytest_llmperf.serving.placement import Placement
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.weights import Weights


class Guest(Served):
    """The handle of an adapter or an alias. Whatever belongs to the server is asked of the :attr:`host`."""

    def __init__(
        self,
        model: Model,
        host: Served,
        state_root: Path,
        progress: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
        book: Book = UNBOOKED,
    ) -> None:
        super().__init__(model, state_root, progress, tell, book=book)
        self._host = host

    def __repr__(self) -> str:
        return f"<{self.name} → {self.model.shown_weights}, served by {self._host.name}>"

    @property
    def host(self) -> Served:
        return self._host

    @property
    def started(self) -> bool:
        return self._host.started

    @property
    def was_started(self) -> bool:
        return self._host.was_started

    def running(self) -> Server:
        if self._failure is not None:
            raise self._failure
        self._last_server = dataclasses.replace(
            self._host.running(), row=self.name, model=self.served, counted_as=self._host.served
        )
        return self._last_server

    @property
    def crashes(self) -> int:
        return self._host.crashes

    def condemn(self, why: str) -> None:
        self._host.condemn(why)

    def call_off(self) -> None:
        self._host.call_off()

    @property
    def spec(self) -> ServerSpec | None:
        return self._host.spec

    def death(self, wait_s: float = 0.0) -> ServerDied | None:
        return self._host.death(wait_s)

    def is_healthy(self) -> bool:
        return self._host.is_healthy()

    @property
    def weights(self) -> Weights:
        """Those of the host; the adapter's are no weights of a model."""
        return self._host.weights

    def weights_directory(self) -> Path | None:
        return self._host.weights_directory()

    @property
    def content(self) -> Content:
        return self._host.content.of_guest(self.name)

    def current_content(self) -> Content:
        return self._host.current_content().of_guest(self.name)

    def tell_changes(self) -> None:
        """The host tells them, those of the adapter too."""

    def milestones(self) -> Milestones | None:
        """None: the start was the host's."""
        return None

    def release(self, *, at_once: bool = False) -> Released | None:
        """None: there is no lease but the host's."""
        del at_once
        return None

    @property
    def used_before(self) -> Mapping[str, int]:
        return self._host.used_before

    @property
    def placement(self) -> Placement:
        return self._host.placement

    @property
    def every_placement(self) -> Sequence[Placement]:
        return self._host.every_placement

    def next_spec(self) -> ServerSpec:
        return self._host.next_spec()

    def facts(self) -> dict[str, Json]:
        """The record of the row: what its host's start was, the host's record tells."""
        host, content = self._host.facts(), self.content
        alike = ("engine", "command", "crashes", "weights_commit", "weights_sha256", "weights_told_by")
        settings = ("arguments", "dtype", "quantization", "max_model_len", "template_sha256")
        digest = content.files.get("adapter")
        return {
            **{name: host.get(name) for name in (*alike, *settings)},
            "row": self.name,
            "weights": self.model.weights,
            "revision": self.model.revision,
            "sampling_seed": self.model.sampling.seed,
            "files": {**object_of(host.get("files")), **({"adapter": digest} if digest else {})},
            "server_of": self._host.name,
            "adapter": self.model.adapter,
        }
