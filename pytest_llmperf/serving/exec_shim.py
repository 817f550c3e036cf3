"""Become the engine, bound to the keeper: ``python -I -S exec_shim.py KEEPER_PID LEASH,ENDS PROGRAM ARGUMENT…``.

Runs between the keeper's ``posix_spawn`` and the engine, because what it does must happen in the child and
a ``preexec_fn`` is not safe in a process that has threads. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
# The kernel shall take the engine before pytest or the keeper when memory runs out.
OOM_SCORE_ADJUSTMENT = "300"


def main(arguments: list[str]) -> None:
    keeper, ends, program = int(arguments[0]), arguments[1], arguments[2:]
    os.setsid()
    for end in map(int, ends.split(",")):
        # From here on the kernel kills this group when the keeper ends: see leash.py.
        with contextlib.suppress(OSError):
            fcntl.fcntl(end, fcntl.F_SETOWN, -os.getpgrp())
        os.close(end)
    # For a kernel without the leash. SIGTERM, not SIGKILL: an API process that is killed leaves its engine behind.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(143)  # the keeper ended before the lines above took effect
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJUSTMENT)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"cannot execute {program[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
