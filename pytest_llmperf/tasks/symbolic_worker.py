"""The process that Math-Verify runs in: a parent that has imported it, and forks a child for each place of the pool.

Started as a file of its own by :mod:`pytest_llmperf.tasks.killable`, with the number of its control socket; nothing of
the package is imported here. A child is ready in milliseconds, so that one that was killed is replaced at no cost.

Control socket: ``fork`` with the child's end of a socket → the child's process id; ``kill PID``, which has no reply.
Child's socket: ``["equal", gold, answer]`` or ``["parse", text]`` → ``true``, ``false`` or the name of a trouble.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

_LONGEST_MESSAGE = 1 << 17
_WORN_OUT_BYTES = 256 << 20
"""A child that has used so much goes: its limit is meant for the item that needs it, not for what others left."""


def main(control: socket.socket, limit_s: float, memory_bytes: int) -> None:
    """Fork and kill on request until the other side is gone."""
    logging.disable(logging.CRITICAL)
    try:
        verify = _math_verify()
    except ImportError as error:
        control.send(str(error).encode()[:1000])
        return
    control.send(b"ready")
    children: set[int] = set()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            return
        _bury(children)
        if message == b"fork":
            pid = os.fork()
            if pid == 0:
                control.close()
                child = socket.socket(fileno=sockets[0])
                with contextlib.suppress(BaseException):
                    _serve(child, verify, limit_s, memory_bytes)
                os._exit(0)
            os.close(sockets[0])
            children.add(pid)
            control.send(str(pid).encode())
        else:
            pid = int(message.removeprefix(b"kill "))
            if pid in children:  # not buried yet: the number is still this child's
                os.kill(pid, signal.SIGKILL)


def _bury(children: set[int]) -> None:
    for pid in [*children]:
        if os.waitpid(pid, os.WNOHANG)[0]:
            children.discard(pid)


def _serve(
    requests: socket.socket, verify: Callable[[list[str]], Any], limit_s: float, memory_bytes: int
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not caught but left to kill: what hangs inside one long multiplication would never hear of a handler.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while message := requests.recv(_LONGEST_MESSAGE):
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            reply = verify(json.loads(message))
        except MemoryError:
            reply = "memory"
        signal.setitimer(signal.ITIMER_REAL, 0)
        worn_out = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > _WORN_OUT_BYTES
        if worn_out and reply is not True:
            # SymPy takes a MemoryError of its own for "not equal".
            reply = "memory"
        requests.send(json.dumps(reply).encode())
        if worn_out or reply == "memory":
            return


def _math_verify() -> Callable[[list[str]], Any]:
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import Basic, MatrixBase

    config = [LatexExtractionConfig(boxed_match_priority=0)]

    def read(text: str) -> list[Any]:
        # Its own time limits are off: they set and clear the alarm that this process must keep.
        found: list[Any] = parse(f"\\boxed{{{text}}}", extraction_config=config, parsing_timeout=None)
        return [one for one in found if isinstance(one, Basic | MatrixBase)]

    def answer(request: list[str]) -> Any:
        kind, *texts = request
        read_texts = []
        for text in texts:
            expressions = read(text)
            if not expressions:
                return "unreadable"
            read_texts.append(expressions)
        return True if kind == "parse" else bool(verify(*read_texts, timeout_seconds=None))

    # Grammar, caches and simplifier, once for all children.
    answer(["equal", "\\frac{x+1}{2}", "0.5 x + \\sqrt{1}/2"])
    return answer


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)
