"""From a model and a question to numbers: measured once a run, shared by every test that asks."""
