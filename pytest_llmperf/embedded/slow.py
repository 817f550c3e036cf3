"""A planted regression: a vLLM logits processor that makes every decoding step slower by a fixed share.

Load it with ``--logits-processors pytest_llmperf.embedded.slow:DelayingLogitsProcessor``. It is imported by
vLLM's engine only, never by the plugin, and changes no logits.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor

if TYPE_CHECKING:
    from vllm.config import VllmConfig

SHARE_VARIABLE = "LLMPERF_SLOW_SHARE"
DEFAULT_SHARE = 0.3
LONGEST_STEP_S = 0.05


class DelayingLogitsProcessor(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Sleeps ``LLMPERF_SLOW_SHARE`` (0.3) of the time since its previous step ended.

    A step that took t seconds then takes 1.3 t on any machine. A gap longer than 50 ms counts as 50 ms, so
    that an idle server does not sleep on its next request. ``ValueError`` for a share that is no number from
    0 to 10.
    """

    def __init__(
        self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool
    ) -> None:  # the signature is vLLM's
        del vllm_config, device, is_pin_memory
        text = os.environ.get(SHARE_VARIABLE, str(DEFAULT_SHARE))
        try:
            self.share = float(text)
        except ValueError:
            self.share = -1.0
        if not 0 <= self.share <= 10:
            raise ValueError(
                f"{SHARE_VARIABLE}={text!r} is no number from 0 to 10, for example {DEFAULT_SHARE}"
            )
        self.previous = time.perf_counter()

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        step_s = min(time.perf_counter() - self.previous, LONGEST_STEP_S)
        time.sleep(self.share * step_s)
        self.previous = time.perf_counter()
        return logits

    def is_argmax_invariant(self) -> bool:
        # False, although nothing changes: processors that keep the argmax are left out of greedy steps.
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        del batch_update  # nothing is kept per request
