"""The model: one algorithm of the supplement, one class."""
