"""`python -m claims [NAME ...]`: run the slow experiments and print the table of docs/claims.md.

Those on CIFAR-10 want THALWEG_DATA, the folder of cifar10_subset.npz; without it they are left out, and it says so.
"""

import platform
import sys
import time
from importlib import import_module

import torch

from thalweg.errors import MissingData

NAMES = (
    "rescaled_layers",
    "trajectory_planes",
    "equivalent_networks",
    "connected_minima",
    "flat_manifolds",
    "local_minima",
    "barriers",
)

print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
print("| claim | what | measured | expected | |\n| --- | --- | --- | --- | --- |")
failed = False
for name in sys.argv[1:] or NAMES:
    begun = time.perf_counter()
    try:
        for finding in import_module(f"claims.{name}").findings():
            print(finding, flush=True)
            failed = failed or finding.holds is False
    except MissingData as error:
        print(f"{name}: left out: {error}", file=sys.stderr)
    print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
# One that does not hold makes `make claims` fail.
sys.exit(failed)
