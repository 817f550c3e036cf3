"""A run as one JSON file, with its tables beside it."""

SCHEMA = "llmperf-record/1"
"""Name and version of the form that records have; its types are in ``record.model``."""
