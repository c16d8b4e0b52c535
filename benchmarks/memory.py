"""P13: vectors of the parameters' size that eigenpairs and spectral density hold at once, by live storage."""

import gc

import torch
from torch import Tensor

import thalweg as tw
from benchmarks.row import Row

SIZE = 400_003


def live_vectors() -> int:
    """Storage of tensors at least one vector long that is alive now, in vectors."""
    held = {}
    for thing in gc.get_objects():
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            if storage.nbytes() >= 4 * SIZE:
                held[storage.data_ptr()] = storage.nbytes()
    return round(sum(held.values()) / (4 * SIZE))


def peak(job: str, k: int = 10) -> int:
    diagonal = torch.linspace(-1, 100, SIZE)
    most = 0
    outside = live_vectors()

    def product(v: Tensor) -> Tensor:
        nonlocal most
        result = diagonal * v if v.dim() == 1 else diagonal[:, None] * v
        # The product's own result counts: whoever asked for it holds it.
        most = max(most, live_vectors() - outside)
        return result

    operator = tw.curvature.SymmetricOperator(product, SIZE, dtype=torch.float32)
    if job == "eigenpairs":
        tw.curvature.eigenpairs(operator, k, tol=1e-2)
    else:
        tw.curvature.spectral_density(operator, probes=2, steps=20, reorthogonalize=False)
    return most


def measure() -> list[Row]:
    k = 10
    return [
        Row("P13", f"eigenpairs, k = {k}: vectors held at a product", peak("eigenpairs", k), 2 * k + 20),
        Row("P13", "density without re-orthogonalization: vectors held at a product", peak("density"), 4),
    ]
