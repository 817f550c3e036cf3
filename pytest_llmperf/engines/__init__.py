"""Engines: what kinds of inference servers there are, and what the run must know of each. See ``base.py``."""
