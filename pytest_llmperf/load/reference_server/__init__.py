"""A streaming server with a known schedule: the ground truth that the client's clock is compared with.

``server`` is the process itself (standard library and httptools), ``process`` starts it and asks it for its truth.
"""
