"""Looking: plots, 3D views and reports."""
