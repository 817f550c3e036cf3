"""Training of the embedded pair: corpus, tokenizer, model, optimiser, evaluation and model cards.

Lives outside the wheel, because no run of the plugin needs it. What a run does need (problems, prompts, damage) is in
``pytest_llmperf.embedded``. ``python -m tools.tiny_pair.train --help`` from the repository's root.
"""
