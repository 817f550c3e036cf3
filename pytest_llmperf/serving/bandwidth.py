"""Measure the memory bandwidth of a GPU that is not in our table, by a copy within its memory.

In a process of its own, by the interpreter that has the engine, since that has PyTorch: nothing of it stays behind, and
no setting of the device is touched.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

TIMEOUT_S = 120.0
_COPY = """
import json, torch
free, _ = torch.cuda.mem_get_info()
size = min(256 * 2**20, free // 4)
if size < 64 * 2**20:
    raise SystemExit(f"{free / 2**20:.0f} MiB of the device are free, 256 MiB are needed for a copy")
source = torch.empty(size, dtype=torch.uint8, device="cuda")
target = torch.empty_like(source)
best = 0.0
for _ in range(8):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(8):
        target.copy_(source)
    end.record()
    end.synchronize()
    best = max(best, 2 * 8 * size / (begin.elapsed_time(end) / 1e3))
print(json.dumps({"bytes_per_s": best}))
"""


def measured_bandwidth(
    python: str, environment: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> float | str:
    """Bytes read and written a second on the first device that ``environment`` leaves visible, or why they are unknown.

    The best of eight copies of at least 64 MiB; takes the seconds that importing PyTorch takes. Not beside a timed
    load: it uses the bandwidth that it measures.
    """
    try:
        done = subprocess.run(
            [python, "-c", _COPY],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its bandwidth was not measured: {error}"
    try:
        value = float(json.loads(done.stdout.splitlines()[-1])["bytes_per_s"])
    except (IndexError, KeyError, TypeError, ValueError):
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"its bandwidth was not measured: {said[-1]}"
    return value if value > 0 else "its bandwidth was not measured: the copy took no time"
