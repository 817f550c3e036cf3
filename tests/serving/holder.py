"""Another process that holds a lease: ``holder.py STATE_ROOT < SPEC``; prints its server, then waits.

``close`` gives the lease back and ends; ``crash`` ends without a word; ``fork`` leaves a child behind that
has inherited everything; the end of standard input is waited for like any other line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.spec import ServerSpec


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    spec = ServerSpec.from_json(sys.stdin.readline())
    try:
        lease = acquire(spec, Path(sys.argv[1]))
    except InfrastructureError as error:
        say(error=type(error).__name__, text=str(error))
        return
    say(root_pid=lease.server.root_pid, keeper_pid=lease.server.keeper_pid, url=lease.server.base_url)
    for line in sys.stdin:
        if line.strip() == "close":
            released = lease.close()
            say(last=released.last, forced=released.forced)
            return
        if line.strip() == "crash":
            os._exit(7)
        if line.strip() == "fork" and os.fork() == 0:
            time.sleep(600)
    time.sleep(600)


if __name__ == "__main__":
    main()
