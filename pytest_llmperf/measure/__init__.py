"""From a model and a question to numbers: measured once a run, shared by every test that asks."""

from __future__ import annotations

from pytest_llmperf.measure.measurements import Measurements

__all__ = ["Measurements"]
