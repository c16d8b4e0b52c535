"""Clipping gradients by norm or by value, with a record of what it did and where the norm spiked."""

from thalweg.clipping.by_norm import clip_by_norm
from thalweg.clipping.by_value import clip_by_value
from thalweg.clipping.clipper import NormClipper
from thalweg.clipping.history import NormHistory, Spike
from thalweg.clipping.record import ClipRecord

__all__ = [
    "ClipRecord",
    "NormClipper",
    "NormHistory",
    "Spike",
    "clip_by_norm",
    "clip_by_value",
]
