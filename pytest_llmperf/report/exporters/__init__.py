"""Exports of a run to other tools: Markdown summaries, GitHub annotations, JUnit properties, Prometheus metrics."""
