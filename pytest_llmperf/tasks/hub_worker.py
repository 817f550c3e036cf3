"""The process that loads a split from the hub; started as a file, so that nothing of this package is imported.

Its one argument is what ``datasets.load_dataset`` is to be called with, as JSON. It writes one pickled pair to what
was its standard output: ``("rows", list of dict)``, ``("missing", why datasets can't be imported)`` or
``("failed", what went wrong)``.

It is a process because pyarrow's threads outlive the loading and can abort whoever ends beside them
(``parquet_reading.py`` says how), and because ``datasets`` may bring torch with it.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading

from pytest_llmperf.json_values import Json


def main() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the bytes of the answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer.write(_load(json.loads(sys.argv[1])))
    answer.flush()
    os._exit(0)  # no clean-up of the interpreter: the threads are still there


def _load(request: dict[str, Json]) -> bytes:
    try:
        import datasets
    except ImportError as error:
        return pickle.dumps(("missing", str(error)))
    try:
        rows = list(datasets.load_dataset(request.pop("path"), request.pop("name"), **request))
        return pickle.dumps(("rows", rows))
    except Exception as error:  # its errors have no common base: offline, gated, unknown, disk full, …
        reason = " ".join(str(error).split())[:200]
        return pickle.dumps(("failed", f"{type(error).__name__}: {reason}"))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # the parent holds the other end and writes nothing
    os._exit(1)


if __name__ == "__main__":
    main()
