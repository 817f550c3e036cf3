"""Measured data in, a verdict out: floors, budgets, margins, ratios. Pure; knows neither pytest nor servers.

``base`` holds what all kinds of gates share. Each kind has a module: ``proportion``, ``paired``, ``quantile``,
``ratio``, ``mean``, ``mean_ratio``, ``scalar``, ``bracket``. ``run_verdict`` sums up a run.
"""
