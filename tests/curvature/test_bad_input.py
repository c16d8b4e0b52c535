"""What is wrong with a matrix, a model or the machine is said in one line, or does no harm."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from curvature.models import Case, case, dense_hessian, trained, wine
from curvature.spectra import rotated
from thalweg.curvature import (
    SymmetricOperator,
    classify,
    condition_number,
    critical_points,
    diagonal,
    effective_rank,
    eigenpairs,
    fisher,
    frobenius_norm,
    ggn,
    gradient_covariance,
    hessian,
    layer_rates,
    log_determinant,
    spectral_density,
    trace,
)
from thalweg.errors import InvalidArgument, NotDifferentiable, OutOfMemory, ThalwegError
from thalweg.objective import Objective

N = 200
MATRIX = rotated(torch.linspace(-1, 1, N).double() ** 3)

SEARCHES = {
    "eigenpairs": lambda operator: eigenpairs(operator, 3),
    "interior eigenpairs": lambda operator: eigenpairs(operator, 2, "zero"),
    "spectral density": spectral_density,
    "trace": trace,
    "Frobenius norm": frobenius_norm,
    "diagonal": diagonal,
    "condition number": condition_number,
    "effective rank": effective_rank,
}


def operator_of(matrix):
    return SymmetricOperator(lambda v: matrix @ v, len(matrix), dtype=matrix.dtype, name="Jacobian")


def told(error, call):
    """The one line that `call` fails with."""
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, ThalwegError)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("part", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_matrix_that_is_not_symmetric_is_noticed_by_the_products_that_are_needed_anyway(name, part):
    draw = torch.Generator().manual_seed(1)
    other = torch.randn(N, N, generator=draw, dtype=torch.float64)
    skew = (other - other.T) / torch.linalg.matrix_norm(other - other.T, 2)
    operator = operator_of(MATRIX + part * skew)
    message = told(InvalidArgument, lambda: SEARCHES[name](operator))
    assert message.startswith("Jacobian is not symmetric: ")
    assert operator.products <= (N if name == "condition number" else 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SEARCHES)
def test_rounding_does_not_pass_for_asymmetry(name, dtype):
    """Of a matrix whose eigenvalues span as many digits as the type has."""
    eigenvalues = torch.logspace(0, -16, N, dtype=torch.float64)
    SEARCHES[name](operator_of(rotated(eigenvalues).to(dtype)))


def saturated():
    """A classifier of the wines in single precision whose loss is 2e-7: in its Hessian digits cancel."""
    model, (x, y) = trained("mlp", 60)
    with torch.no_grad():
        model[4].weight.mul_(3)
    objective = Objective(model.float(), F.cross_entropy, (x.float(), y))
    exact = dense_hessian(copy.deepcopy(model).double(), lambda z: F.cross_entropy(z, y), x.float().double())
    return objective, torch.linalg.eigvalsh(exact).flip(0)


def test_digits_that_cancel_do_not_pass_for_asymmetry_and_count_as_error():
    objective, exact = saturated()
    assert float(objective.loss()) < 1e-6
    with hessian(objective) as operator:
        with pytest.raises(InvalidArgument, match="all is rounding here"):
            operator.check_symmetry()
        pairs = eigenpairs(operator, 4, "both")
        assert 1e-4 < pairs.accuracy < 0.1
    off = (pairs.values.double() - exact[[0, 1, -2, -1]]).abs()
    # What cancels is symmetric as often as not: asymmetry shows the size of errors, not a bound of them.
    assert bool((off <= 3 * pairs.errors).all())
    for search in (trace, spectral_density, diagonal, frobenius_norm):
        search(hessian(objective))
    found = classify(objective)
    assert found.error >= operator.product_error * found.largest
    assert trace(hessian(objective)).value == pytest.approx(float(exact.sum()), rel=0.15)


class Wrong(nn.Module):
    """tanh with the slope of the next unit in place of each one's own."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        def backward(ctx, slope):
            return slope * (1 - ctx.saved_tensors[0].roll(1, -1).tanh().square())

    def forward(self, x):
        return self.Function.apply(x)


@pytest.mark.parametrize("search", [lambda operator: eigenpairs(operator, 3), trace, lambda o: o.dense()])
def test_a_wrong_backward_pass_is_noticed(search):
    message = told(InvalidArgument, lambda: search(hessian(small(Wrong()))))
    assert message.startswith("Hessian is not symmetric: ")
    assert message.endswith(": a backward pass is wrong, or all is rounding here (try float64)")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", SEARCHES)
def test_products_that_are_not_finite_are_named(name, bad):
    matrix = MATRIX.clone()
    matrix[7, 7] = bad
    message = told(NotDifferentiable, lambda: SEARCHES[name](operator_of(matrix)))
    assert message.startswith("a product with the Jacobian is not finite")


def test_a_model_at_a_point_that_overflows():
    objective = case("mlp").objective
    theta = torch.full_like(objective.point, float("nan"))
    assert "a product with the Hessian is not finite" in told(
        NotDifferentiable, lambda: eigenpairs(hessian(objective, theta), 3)
    )
    assert "not finite" in told(NotDifferentiable, lambda: classify(objective, theta))


@pytest.mark.parametrize("size", [1, 7, 300])
def test_the_zero_matrix(size):
    def zero():
        return SymmetricOperator(lambda v: 0 * v, size, dtype=torch.float64)

    pairs = eigenpairs(zero(), 1)
    assert pairs.values.tolist() == pairs.residuals.tolist() == pairs.errors.tolist() == [0.0]
    assert bool(pairs.converged.all())
    assert float(pairs.vectors.norm()) == pytest.approx(1)
    for found in (trace(zero()), frobenius_norm(zero())):
        assert found.value == found.stderr == 0
    assert diagonal(zero()).value.tolist() == [0.0] * size
    density = spectral_density(zero())
    assert float(torch.trapezoid(density.density, density.grid)) == pytest.approx(1, rel=1e-6)
    assert density.outliers == ()
    for search, name in ((condition_number, "condition number"), (effective_rank, "effective rank")):
        assert (
            told(InvalidArgument, lambda s=search: s(zero())) == f"the {name} needs a matrix that is not zero"
        )
    message = told(InvalidArgument, lambda: log_determinant(zero()))
    assert message.endswith("A has an eigenvalue of 0 or below; shift must be above 0, got 0")
    assert log_determinant(zero(), 1.0).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None, True])
def test_a_count_of_pairs_that_is_none(k):
    message = told(InvalidArgument, lambda: eigenpairs(operator_of(MATRIX), k))
    assert message == f"k must be an integer of at least 1, got {k!r}"


def test_more_pairs_than_there_are():
    message = told(InvalidArgument, lambda: eigenpairs(operator_of(MATRIX), N + 1))
    assert message == "k must be at most the dimension 200, got 201"
    assert eigenpairs(operator_of(MATRIX), N).values.tolist() == pytest.approx(
        torch.linalg.eigvalsh(MATRIX).flip(0).tolist(), abs=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_with_the_remedy(dtype):
    x, y = wine()
    objective = Objective(trained("mlp", 0)[0].to(dtype), F.cross_entropy, (x.to(dtype), y))
    for call in (
        lambda: hessian(objective),
        lambda: ggn(objective),
        lambda: fisher(objective),
        lambda: gradient_covariance(objective),
        lambda: classify(objective),
        lambda: critical_points(objective, 2),
        lambda: layer_rates(objective),
        lambda: SymmetricOperator.of(torch.eye(3, dtype=dtype)),
    ):
        message = told(NotDifferentiable, call)
        assert message.endswith(f"needs float32 or float64 parameters, these are {dtype}: pass model.float()")


class OnceTanh(torch.autograd.Function):
    """tanh with a first derivative and no second."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * (1 - ctx.saved_tensors[0].square())


class Once(nn.Module):
    def forward(self, x):
        return OnceTanh.apply(x)


def small(activation, limit=None, error=None):
    """13-6-3 units on the wines, of which no more than `limit` fit into memory at once."""
    x, y = wine()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(13, 6), activation, nn.Linear(6, 3)]
        model = nn.Sequential(Limited(limit, error), *layers).double()
    return Objective(model, F.cross_entropy, (x, y))


class Limited(nn.Module):
    def __init__(self, limit, error):
        super().__init__()
        self.limit, self.error = limit, error

    def forward(self, x):
        if self.limit is not None and len(x) > self.limit:
            raise self.error
        return x


def test_a_model_without_second_derivative_falls_back_and_states_its_error():
    exact, once = small(nn.Tanh()), small(Once())
    with hessian(exact) as operator:
        wanted = torch.linalg.eigvalsh(operator.dense())
    with hessian(once) as operator:
        pairs = eigenpairs(operator, 3)
        # The steps of differences are made for float64's 16 digits: ten remain.
        assert 0 < operator.difference_error < 1e-8
    off = (pairs.values - wanted.flip(0)[:3]).abs()
    # Kato and Temple's square of the residual would promise more than differences give.
    assert pairs.accuracy == operator.difference_error
    assert bool((off <= pairs.errors + 1e-14).all())
    assert [note.startswith("no second derivative (") for note in once.notes] == [True]
    assert "central differences of gradients" in once.notes[0]
    assert trace(hessian(once)).value == pytest.approx(trace(hessian(exact)).value, rel=1e-6)
    assert layer_rates(once).uniform == pytest.approx(layer_rates(exact).uniform, rel=1e-4)
    found, reference = classify(once), classify(exact)
    assert found.error > reference.error
    assert (found.kind, found.smallest) == (reference.kind, pytest.approx(reference.smallest, abs=1e-8))


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate"
    ),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["device", "host"])
@pytest.mark.parametrize("matrix", [hessian, ggn, fisher, gradient_covariance])
def test_batches_that_do_not_fit_are_halved(matrix, error):
    whole, short = small(nn.Tanh()), small(nn.Tanh(), limit=50, error=error)
    with matrix(whole) as exact, matrix(short) as operator:
        wanted, pairs = torch.linalg.eigvalsh(exact.dense()).flip(0), eigenpairs(operator, 3)
    # 178 wines, 89, 44.
    assert short.batches.largest == 44
    assert short.notes[-1] == "memory ran out: evaluated in microbatches of 44 from here on"
    assert bool(((pairs.values - wanted[:3]).abs() <= pairs.errors + 1e-12 * wanted[0]).all())


def test_one_sample_that_does_not_fit_is_an_error():
    objective = small(nn.Tanh(), limit=0, error=OUT_OF_MEMORY[0])
    message = told(OutOfMemory, lambda: eigenpairs(hessian(objective), 3))
    assert message == "memory ran out with 1 samples at once, and one sample does not fit"


def test_an_interrupt_in_the_middle_of_a_models_search_goes_on_from_its_file(tmp_path):
    """The basis that there was is used: the products of both runs are those of one, but for two."""
    model: Case = case("mlp")
    path = tmp_path / "pairs.safetensors"
    with hessian(model.objective) as operator:
        whole = eigenpairs(operator, 4, "both", 1e-5)
        operator.products = 0
        operator._product = interrupted(operator._product, 25)
        with pytest.raises(KeyboardInterrupt):
            eigenpairs(operator, 4, "both", 1e-5, checkpoint=path)
    assert path.exists()
    with hessian(model.objective) as operator:
        pairs = eigenpairs(operator, 4, "both", 1e-5, checkpoint=path)
        assert operator.products <= whole.products - 25 + 2
    ends = model.eigenvalues[[0, 1, -2, -1]]
    assert bool(((pairs.values - ends).abs() <= pairs.errors + 1e-12 * model.norm).all())
    assert not path.exists()


def interrupted(product, after):
    left = iter(range(after))

    def call(v):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return product(v)

    return call
