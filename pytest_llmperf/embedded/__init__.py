"""The embedded pair: two tiny models, the problems they learned, and planted damage.

Importing this package costs nothing: ``slow`` needs torch and vLLM, ``damage`` needs numpy; each is imported only where
it is used. The training is in ``tools/tiny_pair``, outside the wheel.
"""

from __future__ import annotations
