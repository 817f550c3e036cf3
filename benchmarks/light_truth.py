"""The reference server in C (``truth_server.c``), compiled for the benchmark.

At 256 streams the built-in one, in Python, takes so much of two cores that it is late itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.serving.server import Server

SOURCE = Path(__file__).with_name("truth_server.c")


@contextlib.contextmanager
def compiled() -> Iterator[Path]:
    """The program, for as long as the ``with`` block lasts. Raises ``OSError`` without ``cc``."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "truth_server"
        subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE)], check=True)
        yield program


@contextlib.contextmanager
def running(program: Path, options: ReferenceOptions) -> Iterator[ReferenceServer]:
    """As ``pytest_llmperf.load.reference_server.process.running``; of the options only the two times count."""
    command = [str(program), str(options.ttft_ms), str(options.gap_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["port"])
            server = Server(
                row="reference",
                model=options.model,
                base_url=f"http://127.0.0.1:{port}",
                api_key=None,
                log=None,
                root_pid=process.pid,
                ready_s=None,
                command=" ".join(command),
                engine="reference in C",
            )
            yield ReferenceServer(server, options)
        finally:
            process.kill()
