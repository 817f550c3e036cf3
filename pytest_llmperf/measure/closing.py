"""The end of several servers: all leases first, then the question whether the GPU has forgotten them.

Asked one by one, the memory of a server that still runs could be taken for that of the one that has ended, where the
driver names no processes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pytest_llmperf.errors import GpuUnreadable, InfrastructureError
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu


def close_together(
    sides: Iterable[Served], running: Collection[Served] = (), *, anew: bool = False, at_once: bool = False
) -> list[InfrastructureError]:
    """Give the leases of ``sides`` back; returns what could not be cleaned up.

    Comes back when the processes of each server that was ended are gone and the GPU has forgotten them. ``running``
    are servers on the same devices that go on: where the driver names no processes, nobody can tell then whose memory
    is left. ``anew``: a server that another process of the run goes on using is an error too, since it can't be
    started again. ``at_once``: kill them, and do not wait for the GPU; the run was interrupted.
    """
    errors: list[InfrastructureError] = []
    ended: list[tuple[Served, tuple[int, ...]]] = []
    for side in sides:
        try:
            released = side.release(at_once=at_once)
        except InfrastructureError as error:
            errors.append(error)
            continue
        if released is not None and released.last:
            ended.append((side, released.pids))
        elif released is not None and anew:
            errors.append(
                InfrastructureError(
                    f"{side.name}: cannot be started anew, another process of this run uses its server: run without -n"
                )
            )
    if at_once:
        return errors
    before = None if running else _lowest(side.used_before for side, _ in ended)
    for side, pids in ended:
        try:
            held = gpu.wait_released(side.nvml(), pids, before)
        except GpuUnreadable as error:
            # The other servers of the list must be asked about all the same.
            errors.append(error)
            continue
        if held:
            errors.append(
                InfrastructureError(
                    f"{side.name}: its processes have ended, and the GPU memory is not free: {held}"
                )
            )
    return errors


def _lowest(every: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Bytes by device before the first of them was started: what it must come back to."""
    lowest: dict[int, int] = {}
    for used in every:
        for device, size in used.items():
            lowest[device] = min(size, lowest.get(device, size))
    return lowest
