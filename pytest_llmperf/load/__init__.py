"""Load of a known shape, and the metrics measured under it.

::

    workload, prompt_set ─┐                                   ┌─ interleave: two servers in turn
    arrivals, replay ─────┴─ runner ─ Run (traces) ─ results ─┼─ sweep: one server, level by level
                             workers               metrics    └─ goodput: the highest rate that keeps an SLO
    reference_server ─ calibration: the client's own error
"""
