"""Data: structures, alignments, features, and the toy world."""
