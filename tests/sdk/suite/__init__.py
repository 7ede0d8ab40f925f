"""Other people's clients against certrot-twin and certrotd; `tests/sdk/run` starts it."""
