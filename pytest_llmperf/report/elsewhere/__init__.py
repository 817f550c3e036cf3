"""A run's verdicts in the forms that other tools read: CI summaries, annotations, JUnit, Prometheus."""
