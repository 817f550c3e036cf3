"""Start, share, watch and stop an inference server; knows nothing of pytest.

The path of one server::

    Model ─ weights.resolve ─ command.spec_for ─ preflight.check ─ lease.acquire ─ Server
                                                                        │
                                             keeper (a process of its own) ─ engine and its children

This package imports nothing here: the keeper loads single modules of it in a bare interpreter.
"""
