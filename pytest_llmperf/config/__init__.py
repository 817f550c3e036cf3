"""``models.toml``, ``budgets.toml`` and the command line, read into values before anything starts."""
