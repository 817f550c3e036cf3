"""Published figures as claims, decided by arithmetic or by a run's record: a plugin of its own, outside the wheel.

* ``python -m contrib.claims FILE [--record RECORD] [--markdown]`` prints what holds.
* ``python -m pytest -p contrib.claims.plugin contrib/claims/suite`` runs the same as tests.
"""
