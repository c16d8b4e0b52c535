"""Runs on disk: rows in SQLite, arrays in safetensors; knows numbers, no models."""

from thalweg.store.checkpoint import load_checkpoint, load_trajectory
from thalweg.store.encoding import JSON
from thalweg.store.export import dataset, export
from thalweg.store.run import Run

__all__ = ["JSON", "Run", "dataset", "export", "load_checkpoint", "load_trajectory"]
