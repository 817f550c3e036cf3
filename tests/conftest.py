"""For all tests."""

from __future__ import annotations

import signal

# A shell that starts something in the background has it ignore Ctrl-C, and so every process below it. The tests that
# interrupt a run would wait for ever there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
