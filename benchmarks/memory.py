"""P13: vectors of the parameters' size that eigenpairs and spectral density hold at once.

Counted is every allocation of torch's CPU allocator during the call: temporaries and the operator's product are among
them. The operator is diagonal and makes nothing else.
"""

import gc
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

import thalweg as tw
from benchmarks.row import Row

SIZE = 300_000


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes of CPU tensors alive at once during `work`, beyond those alive before; temporaries included."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    del result
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def measure() -> list[Row]:
    diagonal = torch.linspace(-1, 1, SIZE, dtype=torch.float64).pow(3).float()
    operator = tw.curvature.SymmetricOperator(lambda v: (diagonal * v.T).T, SIZE, dtype=torch.float32)
    k = 10
    eigenpairs = peak_bytes(lambda: tw.curvature.eigenpairs(operator, k, "both", 1e-9, max_products=120))
    density = peak_bytes(
        lambda: tw.curvature.spectral_density(operator, 2, 20, grid=16, reorthogonalize=False)
    )
    return [
        Row("P13", f"eigenpairs, k = {k}: vectors held at most", eigenpairs / (4 * SIZE), 2 * k + 20.1),
        Row("P13", "density without re-orthogonalization: vectors held at most", density / (4 * SIZE), 4.1),
    ]
