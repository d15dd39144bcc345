"""Parity cases: how each of DeepMind's reference vectors is run through this package."""
