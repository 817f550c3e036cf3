"""Knowledge of single engines, as pure functions: how their command lines are read."""
