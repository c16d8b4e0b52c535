"""Interrupts: what was computed is on disk, and the search goes on from there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator, eigenpairs
from thalweg.errors import InvalidArgument, MissingData

N = 400
EXACT = torch.linspace(-1, 1, N).double().pow(3)
MATRIX = rotated(EXACT)


class Interrupted(SymmetricOperator):
    """An operator that raises at a product."""

    def __init__(self, error, after, matrix=MATRIX):
        self.left = after

        def product(v):
            self.left -= 1
            if self.left < 0:
                raise error
            return matrix @ v

        super().__init__(product, len(matrix), dtype=matrix.dtype, name="matrix")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no more"), RuntimeError("device lost")])
@pytest.mark.parametrize("after", [3, 24, 30, 47])
@pytest.mark.parametrize("which", ["both", "zero"])
def test_an_interrupt_costs_nothing(tmp_path, error, after, which):
    path = tmp_path / "state.safetensors"
    whole = eigenpairs(SymmetricOperator.of(MATRIX), 3, which, 1e-4, max_products=120)
    with pytest.raises(type(error)):
        eigenpairs(Interrupted(error, after), 3, which, 1e-4, max_products=120, checkpoint=path)
    assert path.exists()
    operator = SymmetricOperator.of(MATRIX)
    pairs = eigenpairs(operator, 3, which, 1e-4, max_products=120, checkpoint=path)
    # One product tells that the matrix is the same; all others are those that were left. One that was begun is lost.
    assert operator.products <= whole.products - after + 1
    assert pairs.products <= whole.products + 1
    torch.testing.assert_close(pairs.values, whole.values, rtol=0, atol=2 * float(whole.residuals.max()))
    assert bool(pairs.converged.all()) == bool(whole.converged.all())
    if bool(whole.converged.all()):
        assert not path.exists()


def test_a_killed_process_resumes_from_its_last_restart(tmp_path):
    path = tmp_path / "state.safetensors"
    code = f"""
import os, signal, torch
from thalweg.curvature import SymmetricOperator, eigenpairs
exact = torch.linspace(-1, 1, {N}).double().pow(3)
spent = 0
def product(v):
    global spent
    spent += 1
    if spent == 60:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    return exact * v
eigenpairs(SymmetricOperator(product, {N}, dtype=torch.float64), 3, tol=1e-6, checkpoint={str(path)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode != 0
    operator = diagonal(EXACT)
    whole = eigenpairs(diagonal(EXACT), 3, tol=1e-6)
    resumed = SymmetricOperator(lambda v: operator @ v, N, dtype=torch.float64)
    pairs = eigenpairs(resumed, 3, tol=1e-6, checkpoint=path)
    # Restarts are at most 17 products apart.
    assert resumed.products <= whole.products - 60 + 17 + 1
    torch.testing.assert_close(pairs.values, whole.values, rtol=0, atol=1e-5)


def test_more_products_go_on_where_fewer_ended(tmp_path):
    path = tmp_path / "state.safetensors"
    operator = SymmetricOperator.of(MATRIX)
    part = eigenpairs(operator, 3, tol=1e-8, max_products=40, checkpoint=path)
    assert part.products == 40
    assert not bool(part.converged.all())
    assert path.exists()
    whole = eigenpairs(SymmetricOperator.of(MATRIX), 3, tol=1e-8)
    before = operator.products
    pairs = eigenpairs(operator, 3, tol=1e-8, checkpoint=path)
    # The check of the part's residuals, and that of the matrix, come on top.
    assert operator.products - before <= whole.products - 40 + 2
    assert bool(pairs.converged.all())
    assert not path.exists()


def test_a_finished_search_leaves_no_file(tmp_path):
    path = tmp_path / "state.safetensors"
    plain = eigenpairs(SymmetricOperator.of(MATRIX), 3)
    pairs = eigenpairs(SymmetricOperator.of(MATRIX), 3, checkpoint=path)
    assert torch.equal(pairs.vectors, plain.vectors)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state.safetensors"
    eigenpairs(SymmetricOperator.of(MATRIX), 3, tol=1e-8, max_products=40, checkpoint=path)
    return path


def refused(path, matrix=MATRIX, name="matrix", **settings):
    operator = SymmetricOperator(lambda v: matrix @ v, len(matrix), dtype=matrix.dtype, name=name)
    with pytest.raises(InvalidArgument) as caught:
        eigenpairs(operator, **({"k": 3} | settings), checkpoint=path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert operator.products <= 1
    return message


def test_a_checkpoint_of_another_search_is_refused(state):
    content = state.read_bytes()
    assert "its k is 3, here it is 4" in refused(state, k=4)
    assert "its which is 'largest', here it is 'both'" in refused(state, which="both")
    assert "its seed is 0, here it is 1" in refused(state, seed=1)
    assert "its operator is 'matrix', here it is 'Hessian'" in refused(state, name="Hessian")
    assert f"its size is {N}, here it is {N - 1}" in refused(state, MATRIX[1:, 1:])
    assert "its dtype is 'torch.float64', here it is 'torch.float32'" in refused(state, MATRIX.float())
    # It is left as it was, for the search that it belongs to.
    assert state.read_bytes() == content


def test_a_checkpoint_of_another_matrix_is_refused(state):
    assert "belongs to another matrix: a product with the matrix differs by" in refused(state, 1.001 * MATRIX)
    assert "belongs to another matrix" in refused(state, rotated(EXACT, seed=1))


def test_a_damaged_checkpoint_is_refused(state, tmp_path):
    whole = state.read_bytes()
    for content in (b"", b"not a state", whole[: len(whole) // 2]):
        state.write_bytes(content)
        assert "is no readable state of eigenpairs" in refused(state)
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, state)
    assert "is no readable state of eigenpairs" in refused(state)


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(MissingData, match="there is no folder"):
        eigenpairs(SymmetricOperator.of(MATRIX), 3, checkpoint=tmp_path / "none" / "state")
    with pytest.raises(InvalidArgument, match="is a folder: give a file"):
        eigenpairs(SymmetricOperator.of(MATRIX), 3, checkpoint=tmp_path)
