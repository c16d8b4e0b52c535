"""Hessian products and top eigenpairs of curvlinops, hessian-eigenthings and PyHessian, as each documents them."""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pairs = tuple[Tensor, Tensor]
"""Eigenvalues (k,) and eigenvectors (n, k)."""


@dataclass(frozen=True)
class Peer:
    """A peer's tools on one model.

    linearize: whatever it does once at a point; gives its Hessian product of a vector (n,). pairs: the k largest
    eigenpairs to a tolerance.
    """

    name: str
    linearize: Callable[[], Callable[[Tensor], Tensor]]
    pairs: Callable[[int, float], Pairs]


class Flat(nn.Module):
    """A model whose output's leading axes are samples, as losses of tokens take them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(x)
        return output.reshape(-1, output.shape[-1])


def peers(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Iterator[Peer]:
    """Those that are installed, on a model in evaluation mode and the mean cross-entropy of its outputs."""
    model = Flat(model).eval()
    data = [(x, y.reshape(-1)) for x, y in data]
    for make in (curvlinops, hessian_eigenthings, pyhessian):
        if importlib.util.find_spec(make.__name__):
            yield make(model, data)


def curvlinops(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Peer:
    import curvlinops
    from scipy.sparse.linalg import eigsh

    params = [p for p in model.parameters() if p.requires_grad]
    operator: Any = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), params, data, check_deterministic=False, batch_size_fn=len
    )

    def pairs(k: int, tol: float) -> Pairs:
        # The example of its documentation: SciPy's solver on its operator.
        start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(np.float32)
        values, vectors = eigsh(operator.to_scipy(), k=k, which="LA", tol=tol, v0=start)
        return torch.from_numpy(values).flip(0), torch.from_numpy(vectors).flip(1)

    return Peer("curvlinops", lambda: lambda v: operator @ v, pairs)


def hessian_eigenthings(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Peer:
    from hessian_eigenthings import HessianOperator, lanczos, supervised_loss

    operator: Any = HessianOperator(model, data, supervised_loss(F.cross_entropy))

    def pairs(k: int, tol: float) -> Pairs:
        found = lanczos(operator, k=k, which="LA", tol=tol, max_iter=200, seed=0)
        return found.eigenvalues.cpu(), found.eigenvectors.T.cpu()

    return Peer("hessian-eigenthings", lambda: operator.matvec, pairs)


def pyhessian(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Peer:
    import pyhessian
    from pyhessian.utils import hessian_vector_product

    single = len(data) == 1

    # It fills .grad with a graph, of which torch warns.
    warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")

    def made() -> Any:
        # Of one batch it keeps the gradient's graph; with several it differentiates each anew for every vector.
        return pyhessian.hessian(
            model,
            nn.CrossEntropyLoss(),
            data=data[0] if single else None,
            dataloader=None if single else data,
            cuda=False,
        )

    shapes = [p.shape for p in model.parameters() if p.requires_grad]

    def linearize() -> Callable[[Tensor], Tensor]:
        tool = made()

        def product(v: Tensor) -> Tensor:
            pieces = v.split([shape.numel() for shape in shapes])
            parts = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
            if single:
                found = hessian_vector_product(tool.gradsH, tool.params, parts)
            else:
                found = tool.dataloader_hv_product(parts)[1]
            return torch.cat([part.reshape(-1) for part in found])

        return product

    def pairs(k: int, tol: float) -> Pairs:
        with contextlib.redirect_stdout(io.StringIO()):
            torch.manual_seed(0)
            values, vectors = made().eigenvalues(maxIter=1000, tol=tol, top_n=k)
        columns = [torch.cat([part.reshape(-1) for part in vector]) for vector in vectors]
        return torch.tensor(values), torch.stack(columns, 1).detach()

    return Peer("PyHessian", linearize, pairs)
