"""Published figures as claims: read from a file, decided by arithmetic or by a run's record, never by belief.

``python -m pytest_llmperf.claims FILE [--record RECORD] [--markdown]`` prints what holds.
"""
