"""Runs on disk: rows in SQLite, arrays in safetensors; knows numbers, no models."""

from thalweg.store.checkpoint import checkpoint_files, load_checkpoint
from thalweg.store.encoding import JSON
from thalweg.store.export import dataset, export, put_dataset
from thalweg.store.run import Run, holding

__all__ = [
    "JSON",
    "Run",
    "checkpoint_files",
    "dataset",
    "export",
    "holding",
    "load_checkpoint",
    "put_dataset",
]
