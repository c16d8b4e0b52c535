"""The curvature matrices of an objective."""
