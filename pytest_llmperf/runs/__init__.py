"""One session that judges models: its ledger, and which tests ask about a model."""
