"""One timed streaming request, and many: bytes are kept with their times, and parsed after the run.

The path of a request::

    body ─ endpoint ─ pool ─ connection ─ Reply (bytes and times) ─ sse ─ openai_stream ─ Trace ─ Answer

``connection`` is the only module that runs while the clock does. ``openai_client`` is apart: openai's own client, for
tests of what a server says rather than when.
"""
