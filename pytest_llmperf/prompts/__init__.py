"""Prompts: how a row is asked, what it really reads, and whether its answers keep its rules."""
