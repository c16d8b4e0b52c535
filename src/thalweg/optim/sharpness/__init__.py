"""Sharpness-aware minimization around any optimizer: gradients taken uphill of where the parameters are."""
