"""Load with a known shape, and what is measured under it.

::

    workload ─┬─ closed_loop ─┬─ Run (traces) ─ metrics ─ Metrics    rounds: two servers, in turn
              │               │                 goodput              sweep: one server, level by level
    arrivals ─┴─ open_loop ───┤
    trace_replay              session: server, prompts, warm-up, cache_check
                                          known_truth, calibration: how wrong the client itself is
"""
