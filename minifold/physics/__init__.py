"""Physics: structural violations and relaxation."""
