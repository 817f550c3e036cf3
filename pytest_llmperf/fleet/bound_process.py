"""Become another program that ends with its parent: ``python -I bound_process.py PARENT_PID PROGRAM ARGUMENT…``.

A shard's pytest is the child of a process of Ray, which Ray or the kernel may kill at any time. SIGTERM lets pytest's
servers end. Standard library only, so that nothing is loaded twice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, program = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(143)  # the parent ended before the line above took effect
    # Ray blocks SIGINT in its processes, and a cluster that was started in the background ignores it; by it a run is
    # ended in an orderly way.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
