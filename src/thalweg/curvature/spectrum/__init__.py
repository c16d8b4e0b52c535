"""Eigenvalues: extreme pairs, and the density of all."""
