"""Published claims about these models: which of them hold on this machine?

    python -m pytest -p contrib.claims.plugin contrib/claims/suite

Every claim of `claims.toml` and `model_card.toml` is a test. `python -m contrib.claims FILE` says
the same without pytest; `docs/claims.md` keeps the result.
"""


def test_the_claim_holds(decision, settle):
    settle(decision.outcome)
