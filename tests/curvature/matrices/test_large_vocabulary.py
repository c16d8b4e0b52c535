"""Many classes: the memory of a product is a few times that of the scores, and rounding stays small."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from benchmarks.memory import peak_bytes
from tests.objective.zoo import classes, normal, token_cross_entropy
from torch import Tensor, nn

from thalweg.objective import Objective
from thalweg.objective.likelihood import CHUNK, likelihood
from thalweg.objective.output_matrices import (
    EmpiricalFisher,
    ExactFisher,
    LossHessian,
    OutputMatrix,
    Outputs,
    SampledFisher,
    SampleGradients,
)

VOCABULARY = 50_000


class Scores(nn.Module):
    """Next-token scores whose head is the embedding, in float32: the parameters weigh a tenth of the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 4)
        self.mix = nn.Linear(4, 4)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=number))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.mix(self.embedding(tokens))), self.embedding.weight)


@pytest.fixture(scope="module")
def objective() -> Objective:
    x, y = classes(2, 45, of=VOCABULARY), classes(2, 45, of=VOCABULARY, seed=1)
    y[:, ::7] = -100
    flat = Objective(
        Scores(),
        F.cross_entropy,
        [(x, y)],
        outputs=lambda model, batch: (model(batch[0]).flatten(0, 1), batch[1].flatten()),
        count=lambda batch: float((batch[1] != -100).sum()),
    )
    flat.loss()
    flat.kept_bytes()
    return flat


LOGITS = 90 * VOCABULARY * 4


@pytest.mark.parametrize(
    "matrix",
    [LossHessian(), ExactFisher(), SampledFisher(0), SampledFisher(0, 20), EmpiricalFisher()],
    ids=lambda matrix: matrix.name,
)
def test_products_hold_a_few_times_the_scores(objective: Objective, matrix: OutputMatrix) -> None:
    """Set up, there are the scores, the tangent that J is linearized with, and the loss's slope at another output
    with what it takes: 7 in all. A product has its image, and the one of M; and what is worked on at once.
    """
    v = objective.point
    room = 4 * CHUNK * 3 + 8 * v.numel() * 4
    with objective.at() as here:
        first = peak_bytes(lambda: here.output_product(v, matrix))
        later = peak_bytes(lambda: here.output_product(v, matrix))
    assert first <= 7.2 * LOGITS + room
    assert later <= 2.1 * LOGITS + room


def test_a_written_loss_and_gradients_of_samples() -> None:
    x, y = classes(2, 45, of=VOCABULARY), classes(2, 45, of=VOCABULARY, seed=1)
    objective = Objective(Scores(), lambda z, t: token_cross_entropy(z, t), (x, y))
    objective.kept_bytes()
    v = objective.point
    room = 4 * CHUNK * 3 + 8 * v.numel() * 4
    for matrix in (ExactFisher(), SampleGradients()):
        with objective.at() as here:
            assert peak_bytes(lambda here=here, m=matrix: here.output_product(v, m)) <= 10.2 * LOGITS + room
            assert peak_bytes(lambda here=here, m=matrix: here.output_product(v, m)) <= 2.1 * LOGITS + room


def on(matrix: OutputMatrix, z: Tensor, y: Tensor) -> tuple[Outputs, Tensor]:
    from thalweg.objective.batch_loss import BatchLoss

    outputs = Outputs(BatchLoss(nn.Identity(), F.cross_entropy, None, None), z, y, len(z), len(z))
    v = normal(*z.shape, seed=5).to(z)
    return outputs, matrix.on(outputs)(v)


@pytest.mark.parametrize("size", [2, 7, 100, 1025, 50_257])
def test_sizes_that_do_not_divide_a_chunk(size: int) -> None:
    """Against diag p − ppᵀ written out in float64."""
    z, y = 3 * normal(90, size), classes(90, of=size)
    for matrix in (LossHessian(), ExactFisher()):
        _, found = on(matrix, z, y)
        v = normal(*z.shape, seed=5)
        p = z.softmax(1)
        wanted = (p * v - p * (p * v).sum(1, keepdim=True)) / 90
        # A sum of `size` terms of a softmax, itself one over a sum of as many.
        assert float((found - wanted).abs().max()) <= 1e-13 * float(wanted.abs().max())


def test_scores_that_are_certain_or_all_alike() -> None:
    for dtype, relative in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        certain, alike = torch.zeros(4, 32), torch.zeros(4, 32)
        certain[:, 0] = 50.0
        for z in (certain, alike, alike + 1e4):
            z = z.to(dtype)
            y = torch.tensor([0, 1, 2, 3])
            _, found = on(ExactFisher(), z, y)
            p, v = z.double().softmax(1), normal(4, 32, seed=5).to(dtype).double()
            wanted = (p * v - p * (p * v).sum(1, keepdim=True)) / 4
            assert bool(torch.isfinite(found).all())
            # Where one class has it all p v − p pᵀv cancels: the rounding is that of p, 1.
            assert float((found.double() - wanted).abs().max()) <= relative / 4
            for matrix in (SampledFisher(0, 3), EmpiricalFisher()):
                assert bool(torch.isfinite(on(matrix, z, y)[1]).all())


def test_one_kept_token_among_ignored_ones() -> None:
    z, y = normal(64, 32), torch.full((64,), -100)
    y[17] = 5
    for matrix in (ExactFisher(), SampledFisher(0, 3), EmpiricalFisher()):
        outputs, found = on(matrix, z, y)
        assert outputs.data == 1
        assert found[17].any()
        found[17] = 0
        assert not found.any()


def test_one_class_is_certain() -> None:
    z, y = normal(5, 1), torch.zeros(5, dtype=torch.int64)
    for matrix in (LossHessian(), ExactFisher(), SampledFisher(0), EmpiricalFisher()):
        assert not on(matrix, z, y)[1].any()


def test_transposed_scores() -> None:
    z, y = normal(32, 9), classes(9, of=32)
    _, wanted = on(ExactFisher(), z.T.contiguous(), y)
    _, found = on(ExactFisher(), z.T, y)
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-16)


def test_rows_of_any_axis_come_back() -> None:
    from thalweg.objective.batch_loss import BatchLoss

    z = normal(2, 5, 3, 4)
    module = BatchLoss(nn.Identity(), F.cross_entropy, None, None)
    found = likelihood(module, z, classes(2, 3, 4, of=5))
    assert found is not None
    rows = found.rows(z)
    assert rows.shape == (24, 5)
    assert torch.equal(rows[1], z[0, :, 0, 1])
    assert torch.equal(found.shaped(rows, z), z)
