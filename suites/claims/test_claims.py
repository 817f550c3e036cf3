"""What others publish about these models: which of it holds, on this machine?

Every row of `claims.toml` and `model_card.toml` is a test. `python -m pytest_llmperf.claims suites/claims/claims.toml`
says the same without pytest, and `docs/claims.md` keeps it.
"""


def test_the_claim_holds(decision, settle):
    settle(decision.outcome)
