"""Measured data in, a verdict out: floors, budgets, margins, ratios. Pure; knows neither pytest nor servers.

``estimand`` is what suites compare; ``share_gates``, ``not_worse``, ``within``, ``ratio_within`` and
``single`` hold the judging functions; ``run_verdict`` sums up a run.
"""
