"""Layers whose second derivative PyTorch computes slowly, computed better while a graph is built to be kept."""

from thalweg.objective.twice_differentiable.mode import TwiceDifferentiable as TwiceDifferentiable
