"""Paths between two points of a landscape: how high a straight one rises, and low ones that bend around."""
