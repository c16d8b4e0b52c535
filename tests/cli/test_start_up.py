from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from thalweg.cli.start_up import optimizers_without_compiler

METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def test_optimizers_work_without_the_compiler_and_are_as_before_afterwards() -> None:
    before = [getattr(torch.optim.Optimizer, name) for name in METHODS]
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    with optimizers_without_compiler():
        optimizer = torch.optim.SGD([parameter], lr=0.5)
        parameter.square().sum().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
    # 1 − 0.5 · 2.
    assert (parameter.item(), parameter.grad) == (0.0, None)
    assert [getattr(torch.optim.Optimizer, name) for name in METHODS] == before


def test_they_are_as_before_after_an_error_too() -> None:
    before = [getattr(torch.optim.Optimizer, name) for name in METHODS]
    with pytest.raises(KeyError), optimizers_without_compiler():
        raise KeyError
    assert [getattr(torch.optim.Optimizer, name) for name in METHODS] == before


ALLOCATE = """
import resource, sys
import torch
from thalweg.cli.start_up import keep_freed_memory

faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "keep":
    keep_freed_memory()
torch.ones(2**23)
before = faults()
for _ in range(20):
    torch.ones(2**23)
print(faults() - before)
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before = resident()
torch.ones(2**28)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of the GNU C library")
def test_freed_memory_is_taken_again() -> None:
    """32 MiB are 8,192 pages of 4 KiB; they come from the system each of twenty times, or once or twice.

    A tensor of 1 GiB goes back to it.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}

    def faults(choice: str, **more: str) -> float:
        command = [sys.executable, "-c", ALLOCATE, choice]
        found = subprocess.run(
            command, env=environment | more, capture_output=True, text=True, check=True, timeout=60
        )
        pages, mebibytes = map(float, found.stdout.split())
        assert mebibytes < 100
        return pages

    kept, usual = faults("keep"), faults("leave")
    assert kept < usual / 5
    # Settings of the user's are left alone.
    assert faults("keep", MALLOC_ARENA_MAX="4") > usual / 2
