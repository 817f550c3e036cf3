"""Statistics as pure functions of plain numbers: intervals, tests, sample sizes.

Every function takes numbers and gives numbers, knows nothing of gates, and raises ``ValueError`` (naming the
argument, the value seen and the values allowed) rather than return NaN. A *confidence* is always that of each
single bound (one-sided); a pair of bounds at 0.95 is therefore a two-sided interval of 90 %.
"""
