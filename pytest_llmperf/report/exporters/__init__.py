"""What a run hands to other tools: Markdown summaries, GitHub annotations, JUnit properties, Prometheus metrics."""
