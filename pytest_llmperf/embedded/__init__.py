"""The embedded pair: two tiny models, the problems they learned, and how they were trained.

Importing this package costs nothing: ``train``, ``qwen2``, ``sampler`` and ``evaluate`` need torch,
``slow`` needs vLLM, ``damage`` needs numpy; each is imported only by whoever asks for it by name.
"""

from __future__ import annotations
