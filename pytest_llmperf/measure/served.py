"""A row of the catalogue and its server, which starts at the first question and is shared until the run ends."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pytest_llmperf.client.capabilities import declare, declare_plain
from pytest_llmperf.config.address import Address
from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.engines.base import Engine, Milestones
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.errors import (
    InfrastructureError,
    LlmperfError,
    NotMeasured,
    RequestFailed,
    ServerDied,
    StartError,
    UsageError,
    first_line,
)
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.book import UNBOOKED, Book
from pytest_llmperf.prompts.template import template_sha256
from pytest_llmperf.record.redaction import hide
from pytest_llmperf.serving import checkpoint, gpu, preflight, remote
from pytest_llmperf.serving import weights as weights_of
from pytest_llmperf.serving.adapters import adapter_directory, remarks, served_beside
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.content import Content, checksums, content_of
from pytest_llmperf.serving.http_client import request, unused_proxies
from pytest_llmperf.serving.lease import Lease, Released, StartProgress, acquire
from pytest_llmperf.serving.log_lines import read_last_start
from pytest_llmperf.serving.page_cache import share_in_memory
from pytest_llmperf.serving.placement import OnlyOn, Placement, of_row
from pytest_llmperf.serving.run_gpus import RunGpus
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.weights import Weights

_ACROSS = "what was measured before and after is not judged together"
_CONDEMNED_S = 15.0
"""For the end of a server that no longer works: SIGKILL to its processes, and the keeper's word that they are gone."""


class Served:
    """The object behind the fixtures ``candidate`` and ``baseline``.

    ``repr`` names the row. Every access to :attr:`server` returns a living server or raises an
    :class:`InfrastructureError`; a failed start is remembered, so that fifty tests do not try it fifty times.
    """

    def __init__(
        self,
        model: Model,
        state_root: Path,
        progress: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
        silence_limit_s: float | None = None,
        book: Book = UNBOOKED,
        guests: Sequence[Model] = (),
        gpus: RunGpus | None = None,
    ) -> None:
        """``gpus``: those of the run; None: the server takes the first that it sees, and leases none."""
        self.model = model
        self.guests = guests
        """Rows of the run that this row's server serves besides its own: adapters and aliases."""
        self._gpus = gpus
        self._book = book
        self._state_root = state_root
        self._progress = progress
        self._tell = tell
        """Called with each sentence to be shown at the end of the run."""
        self._silence_limit_s = silence_limit_s
        self._lease: Lease | None = None
        self._url_server: Server | None = None
        self._last_server: Server | None = None
        self._failure: LlmperfError | None = None
        self._log_mark = 0
        self._ready_s: list[float | None] = []
        """Seconds to ready of each start that this process has seen, apart from those after a crash."""
        self._used_before: dict[str, int] = {}
        self.kv_cache_bytes: int | None = None
        """Size that the next start gives the key-value cache; None: as the row says, and the engine measures what is
        free. See ``measure.kv_cache_sizes``."""
        self._earlier_crashes = 0
        """Crashes of the servers of this row whose lease was given back."""
        self._every_placement: list[Placement] = []
        """Devices of each of these starts."""
        self._stop = threading.Event()
        """Set when the run is interrupted while another thread starts the server."""
        self._weights: Weights | None = None
        self._checksums: dict[str, Json] = {}
        self._in_page_cache: float | None = None
        self._content = Content(None)

    def __repr__(self) -> str:
        return f"<{self.model.name} → {self.model.weights}>"

    @property
    def engine(self) -> Engine:
        return engine_named(self.model.engine)

    @property
    def name(self) -> str:
        """Row of the catalogue."""
        return self.model.name

    @property
    def host(self) -> Served:
        """The row whose server serves this one: itself, unless it is an adapter or an alias."""
        return self

    @property
    def served(self) -> str:
        """The name that requests carry in ``model``."""
        return self.model.served

    @property
    def rules(self) -> PromptRules:
        return self.model.rules

    @property
    def sampling(self) -> Sampling:
        return self.model.sampling

    @property
    def max_model_len(self) -> int:
        """Tokens of prompt and answer together, as the row states it."""
        if self.model.max_model_len is None:
            raise UsageError(f"models.toml: row {self.name} states no max_model_len")
        return self.model.max_model_len

    @property
    def started(self) -> bool:
        """True while the server runs."""
        return self._lease is not None or self._url_server is not None

    @property
    def was_started(self) -> bool:
        """True from the first start on, also between two starts of a comparison."""
        return self.started or self._last_server is not None

    @property
    def server(self) -> Server:
        """The running server: started at the first call, and once more if it died between two tests.

        Raises :class:`StartError` with cause and remedy, :class:`ServerDied` for the test during which it died
        and for all later ones when it died twice, :class:`WrongServer` for a URL that is not what was asked for.
        """
        with self._book.asking(f"the server of {self.name}", gated=False):
            return self.running()

    def running(self) -> Server:
        """As :attr:`server`, but an error is not noted for the running test, which may not need this server."""
        if self._failure is not None:
            raise self._failure
        if not self.engine.is_started:
            # Before the first request: servers repeat keys and addresses in their refusals.
            for secret in remote.secrets_of(self.model):
                hide(secret)
        try:
            self._last_server = self._alive()
            if self.model.extra_body:
                declare(self._last_server.capabilities, self.engine.capabilities)
            else:
                declare_plain(self._last_server.capabilities)
            hide(self._last_server.api_key)
            return self._last_server
        except (InfrastructureError, UsageError) as error:
            self._failure = error
            raise

    def tell_capabilities(self) -> None:
        """Report what the server does not understand; each sentence is shown once."""
        for text in self._last_server.capabilities.notes if self._last_server else ():
            self._tell(f"{self.name}: {text}")

    def refuse(self, why: LlmperfError) -> None:
        """Never start the server: every request for it raises this error."""
        self._failure = why

    def _alive(self) -> Server:
        if not self.engine.is_started:
            if self._url_server is None:
                self._url_server = remote.attach(self.model, progress=self._progress)
                address = Address.parse(self._url_server.base_url)
                if proxies := unused_proxies(address):
                    self._tell(
                        f"{self.name}: {proxies} of the environment is not used: requests go straight to "
                        f"{address.shown()}, for a proxy is not the server"
                    )
            return self._watched(self._url_server)
        if self._lease is None:
            self._start()
        assert self._lease is not None
        if self.death() is not None:
            self._progress(f"{self.name}: the server died, starting it again")
            self._lease.restart(self._say)
            self._tell_changes("the server that was started again has what is there now")
            self._content = self.current_content()
            self._tell(f"the server of {self.name} was started again; {_ACROSS}")
        return self._watched(self._lease.server)

    def _watched(self, server: Server) -> Server:
        return dataclasses.replace(
            server,
            silence_limit_s=self._silence_limit_s,
            on_silence=self.condemn,
            has_died=lambda: self.death() is not None,
        )

    @property
    def crashes(self) -> int:
        """Number of deaths of the server in this run, in all processes, when it was last used."""
        return self._earlier_crashes + (max(0, self._lease.generation - 1) if self._lease else 0)

    def refuse_if_restarted(self, what: str) -> None:
        """Raise :class:`NotMeasured` if the server is not the one that this run started first.

        ``what`` is the quantity that belongs to one whole life of a server: its peak of memory, the time of its start.
        """
        if self.crashes:
            raise NotMeasured(
                f"{what} of {self.name} is not known: its server died in this run and was started again, so that what "
                "there is to see belongs to another process; find out why it died, and run again"
            )

    def condemn(self, why: str) -> None:
        """Declare a running server dead for the rest of the run: it is ended, and not started again.

        Every later request for it raises :class:`ServerDied`. Safe to call from any thread.
        """
        if self._lease is not None:
            self._lease.condemn(why)
            self.death(wait_s=_CONDEMNED_S)
        elif self._failure is None:
            # A server that this run did not start is not ended.
            self._failure = ServerDied(f"the server of {self.name} is taken for dead: {why}")
            self._tell(str(self._failure))

    def call_off(self) -> None:
        """End a start that another thread waits for: the run was interrupted."""
        self._stop.set()

    @property
    def spec(self) -> ServerSpec | None:
        """Command and environment that the server was started with; None if it was not started by this run."""
        return None if self._lease is None else self._lease.spec

    def death(self, wait_s: float = 0.0) -> ServerDied | None:
        """Why the server that was last used is gone, with its last words; None while it runs.

        ``wait_s``: how long to wait for such news. An API process outlives its engine by up to some seconds, and
        answers with errors meanwhile. The next access to :attr:`server` starts it again, once.
        """
        if self._lease is None:
            return self._failure if isinstance(self._failure, ServerDied) else None
        if (death := self._lease.died(wait_s)) is not None:
            self._tell(first_line(death))
        return death

    def is_healthy(self) -> bool:
        """True if the server that was last used answers ``/health`` within two seconds, or if there is none."""
        if self._lease is None:
            return True
        address = Address.parse(self._lease.server.base_url)
        try:
            return request("GET", address, self.engine.probe.health, timeout_s=2.0).status < 400
        except RequestFailed:
            return False

    def mark_log(self) -> None:
        """Remember where the log ends now."""
        log = self._log()
        self._log_mark = log.stat().st_size if log is not None and log.exists() else 0

    def log_since_mark(self, lines: int = 40) -> str:
        """The last lines that were written to the log since :meth:`mark_log`."""
        log = self._log()
        if log is None or not log.exists():
            return ""
        with log.open("rb") as file:
            file.seek(self._log_mark)
            text = file.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def _log(self) -> Path | None:
        return self._lease.log if self._lease is not None else None

    def weights_bytes(self) -> int | None:
        """Size of all tensors, bytes; None if they are not on this machine. Nothing is started for it."""
        return self.weights.total_bytes or None

    @property
    def weights(self) -> Weights:
        """Directory and size of the weights; raises :class:`StartError` if they are not there."""
        if self._weights is None:
            self._weights = weights_of.resolve(self.model)
        return self._weights

    def weights_directory(self) -> Path | None:
        """Directory of the weights by now: an engine may have fetched them since the run began. None if not here."""
        try:
            found = self.weights if self.model.weights else None
            if found is not None and found.directory is None:
                found = weights_of.resolve(self.model)
        except LlmperfError:
            return None
        return found.directory if found is not None else None

    @property
    def content(self) -> Content:
        """Digests of weights and of the files that the arguments name, as of the start of the server."""
        return self._content

    def current_content(self) -> Content:
        """As :attr:`content`, of the files as they are now. Raises :class:`StartError` for an adapter that is gone."""
        return content_of(self.model, self.weights_directory(), self._adapters())

    def _adapters(self) -> dict[str, Path]:
        """Directories of the adapters that the server loads, by row."""
        return {guest.name: adapter_directory(guest) for guest in self.guests if guest.adapter}

    def tell_changes(self) -> None:
        """Tell if a file of a server that runs is not what it was when the server started."""
        if self._lease is not None:
            self._tell_changes("what was measured is of the files as they were when the server started")

    def _tell_changes(self, consequence: str) -> None:
        try:
            now = self.current_content()
        except StartError as error:
            self._tell(f"{first_line(error)}: {consequence}")
            return
        if changed := now.changed_since(self._content):
            self._tell(f"{self.name}: {', '.join(changed)} changed while the run was going: {consequence}")

    def facts(self) -> dict[str, Json]:
        """The record of a server that was started."""
        # The one that was last used, and not the lease's: that of a start that failed has none.
        server = self._last_server
        milestones = self.milestones()
        return {
            "row": self.name,
            "weights": self.model.weights,
            "revision": self.model.revision,
            "engine": server.engine if server else None,
            "command": server.command if server else None,
            "ready_s": server.ready_s if server else None,
            "every_ready_s": self._ready_s,
            "every_gpus": [list(placed.uuids) for placed in self._every_placement if placed.devices],
            "weights_in_page_cache": self._in_page_cache,
            "crashes": self.crashes,
            "milestones": None if milestones is None else dataclasses.asdict(milestones),
            "server_of": None,
            "adapter": None,
            **self._checksums,
        }

    def milestones(self) -> Milestones | None:
        """Durations of the start and the split of its memory, from the server's log; None without a log."""
        log = self._last_server.log if self._last_server else None
        if log is None or not log.exists():
            return None
        seen = self.engine.milestones(read_last_start(log))
        # Engines measure it as what the whole device lost: beside another start, that one's memory is in it.
        return seen if self.kv_cache_bytes is None else dataclasses.replace(seen, graphs_bytes=None)

    def release(self, *, at_once: bool = False) -> Released | None:
        """Give the lease back; None if there is none. Who ends a server asks the GPU as well: ``close_together``.

        ``at_once``: the run was interrupted, the server is killed and not asked to end in order. Raises
        :class:`InfrastructureError` if a process is left, or the keeper had to be forced.
        """
        if self._lease is None:
            return None
        if self._failure is None:
            # One that died after the last test that used it is told as well.
            self.death()
        crashes = self.crashes
        released = self._lease.close(at_once=at_once)
        self._earlier_crashes = crashes
        self._lease = None
        if released.complaint:
            raise InfrastructureError(f"{self.name}: {released.complaint}")
        if released.survivors:
            raise InfrastructureError(f"{self.name}: processes {released.survivors} outlived SIGKILL")
        return released

    @property
    def used_before(self) -> Mapping[str, int]:
        """Used memory of each device, in bytes, just before this server was started."""
        return self._used_before

    def next_spec(self) -> ServerSpec:
        """The server as the next start makes it."""
        weights = self.weights
        spec = spec_for(
            self.model,
            weights.source,
            weights_are_local=weights.is_local,
            revision=weights.revision,
            kv_cache_bytes=self.kv_cache_bytes,
            placed=self.placement.environment,
            beside=served_beside(self.guests),
        )
        if self._silence_limit_s is not None:
            spec = dataclasses.replace(spec, silence_limit_s=self._silence_limit_s)
        return spec

    def failed_with_fixed_cache(self) -> StartError | None:
        """The error of a start that gave the key-value cache a fixed size; None if there was none."""
        return (
            self._failure
            if self.kv_cache_bytes is not None and isinstance(self._failure, StartError)
            else None
        )

    def measure_kv_cache(self) -> None:
        """Let the next start measure the size of the key-value cache, and forget one with a fixed size that failed."""
        if self.failed_with_fixed_cache():
            self._failure = None
        self.kv_cache_bytes = None

    @contextlib.contextmanager
    def _readable_files(self) -> Iterator[None]:
        """Files whose digest belongs to the record: one that can't be read makes the server one that is not known."""
        try:
            yield
        except OSError as error:
            raise StartError(
                f"{self.name}: {error.filename or self.model.weights} can't be read ({error.strerror or error}), "
                "and what was served would not be known",
                remedy="correct its owner or mode, or take it out of the model's directory",
            ) from error

    def _start(self) -> None:
        weights = self.weights
        checkpoint.check(self.model, weights)
        spec = self.next_spec()
        adapted = [remarks(guest, adapter_directory(guest)) for guest in self.guests if guest.adapter]
        for remark in chain(checkpoint.remarks(self.model, weights), *adapted):
            self._tell(remark)
        if not self._ready_s and weights.directory is not None:
            # Before the checksums, which read the files.
            self._in_page_cache = share_in_memory(weights_of.weight_files(weights.directory)[0])
        self._used_before = gpu.used_bytes(self.nvml())

        # Only in the process that really starts the server: in a second xdist worker, the GPU that is taken
        # and the port that is busy are those of the first one's server.
        def check() -> None:
            preflight.check(spec, self.model, weights, state_root=self._state_root)

        with self._readable_files():
            template = template_sha256(self.model, weights.directory)
            self._checksums = checksums(self.model, weights.directory) | {"template_sha256": template}
            self._content = content_of(self.model, weights.directory, self._adapters())
        held = self._gpus.descriptors(self.model) if self._gpus is not None and self.model.gpus else ()
        self._lease = acquire(
            spec, self._state_root, self._say, before_start=check, stop=self._stop, held=held
        )
        if self.crashes:
            self._tell(f"the server of {self.name} was started again; {_ACROSS}")
        self._ready_s.append(self._lease.server.ready_s)
        self._every_placement.append(self.placement)
        with self._readable_files():
            before, self._content = self._content, self.current_content()
        if changed := self._content.changed_since(before):
            self._tell(
                f"{self.name}: {', '.join(changed)} changed while its server started: which of the two it has read is "
                "not known"
            )
            self._content = dataclasses.replace(self._content, weights=None)

    @property
    def every_placement(self) -> Sequence[Placement]:
        """The devices of each start that this process has seen, apart from those after a crash."""
        return self._every_placement

    @property
    def placement(self) -> Placement:
        """The devices of the server, or those that its next start takes; empty if it needs more than are visible.

        Raises :class:`GpuUnreadable`, and :class:`StartError` if they cannot be had.
        """
        if not (self.model.gpus and self.engine.is_started):
            return Placement()
        if self._gpus is not None:
            return self._gpus.placement(self.model)
        found = of_row(self.model.gpus, self.model.environment, gpu.open_nvml())
        return found if len(found.devices) == self.model.gpus else Placement()

    def nvml(self) -> gpu.Nvml:
        """NVML, restricted to the devices of this row."""
        return OnlyOn(gpu.open_nvml(), self.placement) if self.model.gpus else gpu.NoDevices()

    def _say(self, progress: StartProgress) -> None:
        self._progress(f"{progress.row}: {progress.phase}, {progress.elapsed_s:.0f} s")
