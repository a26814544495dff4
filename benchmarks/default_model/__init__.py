"""The default model: its recipe, its training data, its scores and its card."""
