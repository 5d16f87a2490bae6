"""Evaluation of retrieval on the questions of `fixtures/evals`. Start at `run`; how figures are made is in `metrics`."""
