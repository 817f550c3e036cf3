"""Simulated rates of PASS, FAIL and neither for each rule when the truth is known, and the tables of them."""
