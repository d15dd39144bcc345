"""``python -m minifold`` is the same as ``minifold``."""

from minifold.cli import main

main()
