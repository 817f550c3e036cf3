"""The perplexity of a model over texts: each document is scored once a run."""

from __future__ import annotations

import time

from pytest_llmperf.client.likelihood import likelihoods
from pytest_llmperf.gates.mean_ratio import Documents
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers
from pytest_llmperf.tasks.task import items_sha256
from pytest_llmperf.tasks.texts import Texts

# Each holds the log probabilities of a whole prompt in the server's memory.
_CONCURRENCY = 16


class Likelihoods:
    """The log probabilities that the models of this run give to texts."""

    def __init__(self, servers: Servers, memo: Memo) -> None:
        self._servers = servers
        self._memo = memo
        self._facts: list[dict[str, Json]] = []
        self._first_errors: dict[tuple[str, str], str] = {}

    def scored(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        """The documents with their log probabilities, and why they must not be judged (empty: they may)."""
        return self._memo(("texts", served.name, texts.name), lambda: self._measure(served, texts), served)

    def first_error(self, served: Served, texts: Texts) -> str:
        """Why the first text was not scored; empty if all were, and if none was asked for."""
        return self._first_errors.get((served.name, texts.name), "")

    def facts(self) -> dict[str, Json]:
        """For the record."""
        return {"perplexity": self._facts} if self._facts else {}

    def _measure(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        servers = self._servers
        items = texts.documents(servers.settings.data_dir, servers.sizes.documents, servers.seed)
        servers.memory(served)
        servers.progress(f"{served.name}: perplexity of {len(items)} texts of {texts.name}")
        began = time.monotonic()
        found = likelihoods(served.server, [item.prompt for item in items], concurrency=_CONCURRENCY)
        documents = {
            item.id: None
            if text.error or not text.tokens
            else (text.tokens, text.log_probability, text.first)
            for item, text in zip(items, found, strict=True)
        }
        kept = [text for text in found if not text.error]
        self._facts.append(
            {
                "row": served.name,
                "texts": texts.name,
                "data": texts.source.describe(),
                "items_sha256": items_sha256(items),
                "documents": len(found),
                "errors": len(found) - len(kept),
                "tokens": sum(text.tokens for text in kept),
                "log_probability": round(sum(text.log_probability for text in kept), 3),
                "seconds": round(time.monotonic() - began, 3),
            }
        )
        errors = (text.error or "it has no token that can be scored" for text in found)
        failed = next(
            (error for error, document in zip(errors, documents.values(), strict=True) if not document), ""
        )
        self._first_errors[served.name, texts.name] = failed
        return documents, "" if any(documents.values()) else f"nothing was measured; the first text: {failed}"
