"""`python -m benchmarks [NAME ...]`: measure the budgets and print the table of docs/benchmarks.md."""

import platform
import sys
from importlib import import_module

import torch

NAMES = (
    "startup",
    "survey",
    "slices",
    "adaptive",
    "loss_landscapes",
    "memory",
    "products",
    "eigenpairs",
    "growth",
    "steps",
    "muon",
    "descents",
)

print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
print("| budget | what | measured | at most | |\n| --- | --- | --- | --- | --- |")
for name in sys.argv[1:] or NAMES:
    for row in import_module(f"benchmarks.{name}").measure():
        print(row, flush=True)
