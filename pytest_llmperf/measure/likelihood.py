"""The perplexity of a row's model over texts: every document scored once a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pytest_llmperf.client.likelihood import likelihoods
from pytest_llmperf.gates.mean_ratio import Documents
from pytest_llmperf.measure.once import Once
from pytest_llmperf.measure.served import Served
from pytest_llmperf.tasks.task import items_sha256
from pytest_llmperf.tasks.texts import Texts, find_texts

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurements import Measurements

# Each holds the log probabilities of a whole prompt in the server's memory.
_CONCURRENCY = 16


class Likelihoods:
    """What the models of this run make of texts."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._once = Once()
        self._facts: list[dict[str, Any]] = []

    def texts(self, name: str | None) -> Texts:
        """The texts ``name``; None: those of the profile. Raises :class:`UsageError` for an unknown name."""
        return find_texts(name or ("c4" if self._measurements.settings.profile.needs_cuda else "embedded"))

    def scored(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        """By document what the model makes of it, and why nothing may be judged (empty: it may)."""
        return self._once((served.name, texts.name), lambda: self._measure(served, texts), served)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"perplexity": self._facts} if self._facts else {}

    def _measure(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        run = self._measurements
        items = texts.documents(run.settings.data_dir, run.sizes.documents)
        run.memory(served)
        run.progress(f"{served.name}: perplexity of {len(items)} texts of {texts.name}")
        began = time.monotonic()
        found = likelihoods(served.server, [item.prompt for item in items], concurrency=_CONCURRENCY)
        documents = {
            item.id: None if one.error or not one.tokens else (one.tokens, one.log_probability, one.first)
            for item, one in zip(items, found, strict=True)
        }
        kept = [one for one in found if not one.error]
        self._facts.append(
            {
                "row": served.name,
                "texts": texts.name,
                "data": texts.source.describe(),
                "items_sha256": items_sha256(items),
                "documents": len(found),
                "errors": len(found) - len(kept),
                "tokens": sum(one.tokens for one in kept),
                "log_probability": round(sum(one.log_probability for one in kept), 3),
                "seconds": round(time.monotonic() - began, 3),
            }
        )
        failed = next((one.error for one in found if one.error), "no text has a token that can be scored")
        return documents, "" if any(documents.values()) else f"nothing was measured; the first text: {failed}"
