from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from thalweg import problems, surfaces
from thalweg.errors import InvalidArgument, MissingData, UnknownName
from thalweg.objective import AbstractObjective, Objective
from thalweg.problems import Problem
from thalweg.surfaces import Surface
from thalweg.surveys import resolve

DATA = """
import torch
from torch import nn
import thalweg as tw
from torch.nn.functional import cross_entropy

x = torch.arange(24.0).reshape(8, 3) / 24
y = torch.arange(8) % 2
held_out = (x[:5] + 1, y[:5])

def model():
    torch.manual_seed(3)
    return nn.Linear(3, 2)
"""

WriteFile = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Writes a target file and returns the target that names its function `make`."""

    def write(source: str) -> str:
        (tmp_path / "mine.py").write_text(source)
        return f"{tmp_path}/mine.py:make"

    return write


def linear_loss(x: torch.Tensor, y: torch.Tensor) -> float:
    """What the files above are to measure, computed here by hand: log Σ exp − the right score."""
    state = torch.get_rng_state()
    torch.manual_seed(3)
    layer = nn.Linear(3, 2)
    torch.set_rng_state(state)
    scores = (x @ layer.weight.T + layer.bias).detach()
    return float((scores.logsumexp(1) - scores[torch.arange(len(y)), y]).mean())


X = torch.arange(24.0).reshape(8, 3) / 24
Y = torch.arange(8) % 2
# Sums of eight single-precision numbers of order 1, added in another order.
CLOSE = {"rel": 1e-6}


def test_name_of_a_problem() -> None:
    target = resolve("wine", hidden=(4,))
    assert (target.name, target.kind, target.objective) == ("wine", "problem", None)
    assert target.problem is not None
    assert target.problem.objective().size == 13 * 4 + 4 + 4 * 3 + 3


def test_name_of_a_surface() -> None:
    target = resolve("quadratic", condition_number=7, dim=3)
    assert (target.name, target.kind, target.problem) == ("quadratic", "surface", None)
    assert target.objective is not None
    # Eigenvalues 1, √7, 7 of ½ Σ λx²: at (1, 1, 1) half their sum.
    assert float(target.objective.loss(torch.ones(3, dtype=torch.float64))) == pytest.approx(
        (1 + 7**0.5 + 7) / 2, rel=1e-14
    )


@pytest.mark.parametrize(
    ("name", "near"), [("digit", "digits"), ("himelblau", "himmelblau"), ("rosenbrok", "rosenbrock")]
)
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=rf"target '{name}' is no problem.*did you mean .*{near}") as error:
        resolve(name)
    assert "\n" not in str(error.value)


def test_unknown_name_without_a_near_one_lists_all() -> None:
    with pytest.raises(UnknownName) as error:
        resolve("xyzzy")
    for name in (*problems.names(), *surfaces.names()):
        assert name in str(error.value)


@pytest.mark.parametrize("name", ["wine", "quadratic"])
def test_unknown_parameter_is_named_with_the_known_ones(name: str) -> None:
    known = {"wine": "hidden, activation", "quadratic": "condition_number, dim"}[name]
    with pytest.raises(InvalidArgument, match=f"'depth'.*it takes {known}"):
        resolve(name, depth=3)


def test_parameter_called_like_an_argument_of_ours() -> None:
    with pytest.raises(InvalidArgument, match="'target'"):
        resolve("wine", target=3)


def test_parameters_are_for_names_only(write: WriteFile) -> None:
    target = write(DATA + "def make(): return model(), cross_entropy, (x, y)")
    with pytest.raises(InvalidArgument, match="parameters width are for named problems and surfaces"):
        resolve(target, width=3)
    with pytest.raises(InvalidArgument, match="parameters width are"):
        resolve(surfaces.get("booth"), width=3)


def test_objects_in_memory() -> None:
    surface, wine = surfaces.get("booth"), problems.get("wine")
    mine = Objective(nn.Linear(3, 2), nn.functional.cross_entropy, (X, Y), name="mine")
    assert resolve(surface).objective is surface
    assert resolve(surface).kind == "surface"
    assert resolve(wine).problem is wine
    assert resolve(wine).kind == "problem"
    assert resolve(mine).objective is mine
    assert (resolve(mine).name, resolve(mine).kind) == ("mine", "objective")


FACTORIES = {
    "problem": "return tw.Problem('p', model, cross_entropy, (x, y), held_out)",
    "objective": "return tw.Objective(model(), cross_entropy, (x, y))",
    "surface": "return tw.surfaces.get('booth')",
    "three": "return model(), cross_entropy, (x, y)",
    "four": "return model(), cross_entropy, (x, y), held_out",
    "dict": "return dict(model=model(), loss_fn=cross_entropy, data=(x, y), test_data=held_out, batchnorm='batch')",
    "batch_loss": "return {'model': model(), 'data': [{'x': x, 'y': y}],"
    " 'batch_loss': lambda m, b: cross_entropy(m(b['x']), b['y'])}",
}


@pytest.mark.parametrize("returned", FACTORIES)
def test_what_a_factory_may_return(write: WriteFile, returned: str) -> None:
    path = write(f"{DATA}\ndef make():\n    {FACTORIES[returned]}\n")
    target = resolve(path)
    assert target.name == path
    assert target.kind == ("surface" if returned == "surface" else "file")
    if returned == "problem":
        assert isinstance(target.problem, Problem)
        return
    assert target.problem is None
    if returned == "surface":
        assert isinstance(target.objective, Surface)
        return
    assert isinstance(target.objective, Objective)
    assert float(target.objective.loss()) == pytest.approx(linear_loss(X, Y), **CLOSE)
    if returned in ("four", "dict"):
        assert target.test is not None
        assert float(target.test.loss()) == pytest.approx(linear_loss(X[:5] + 1, Y[:5]), **CLOSE)
        # One model: where the training objective goes, the test objective goes.
        assert target.test.model is target.objective.model
    else:
        assert target.test is None
    if returned == "dict":
        assert target.objective.batchnorm == target.test.batchnorm == "batch"  # type: ignore[union-attr]


BROKEN = {
    "syntax": ("x = 1\n\ndef make(:\n    pass\n", r"mine\.py, line 3: "),
    "import": (
        "import torch\n\n\nraise ValueError('no such\\n  weights')\n",
        r"mine\.py raised ValueError: no such weights at line 4 when it was imported$",
    ),
    "missing module": (
        "import os\nimport not_installed_anywhere\n",
        r"ModuleNotFoundError: No module named 'not_installed_anywhere' at line 2",
    ),
    "exit": ("import sys\nsys.exit(3)\n", r"mine\.py raised SystemExit: 3 at line 2 when it was imported$"),
    "factory": (
        "def helper():\n    return 1 / 0\n\ndef make():\n    return helper()\n",
        r"mine\.py:make\(\) raised ZeroDivisionError: division by zero at line 2$",
    ),
    "factory exits": (
        "def make():\n    raise SystemExit('not on this machine')\n",
        r"make\(\) raised SystemExit: not on this machine at line 2$",
    ),
    "arguments": (
        "def make(width): pass\n",
        r"mine\.py:make\(\) raised TypeError: make\(\) missing 1 required positional argument: 'width'",
    ),
    "lacking": (
        "from torch.utils.data import DataLoader\n\ndef build(): pass\nclass Net: pass\ndef _own(): pass\n",
        r"mine\.py has no 'make'; it has build, Net$",
    ),
    "empty": ("", r"mine\.py has no 'make'; it has no functions$"),
    "not callable": ("make = 3\n", r"mine\.py:make must be a function, got int$"),
    "nothing": ("def make(): pass\n", r"must be or return a Problem, .*got NoneType$"),
    "two": ("def make(): return 1, 2\n", r"must be or return a Problem, .*got tuple$"),
    "no module": ("def make(): return 'net', None, None\n", r"model must be a torch.nn.Module, got str$"),
    "no model": (
        DATA + "def make(): return {'data': (x, y)}\n",
        r"model must be a torch.nn.Module, got NoneType$",
    ),
    "unknown argument": (
        DATA + "def make(): return {'model': model(), 'data': (x, y), 'loss': cross_entropy}\n",
        r"mine\.py:make: .*unexpected keyword argument 'loss'",
    ),
    "no data": (
        DATA + "def make(): return {'model': model(), 'loss_fn': cross_entropy}\n",
        r"data is missing",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_is_explained_in_one_line(write: WriteFile, what: str) -> None:
    source, message = BROKEN[what]
    with pytest.raises(InvalidArgument, match=message) as error:
        resolve(write(source))
    assert "\n" not in str(error.value)


def test_syntax_error_in_an_imported_file_names_that_file(write: WriteFile, tmp_path: Path) -> None:
    (tmp_path / "broken_sibling.py").write_text("ok = 1\nfor\n")
    with pytest.raises(InvalidArgument, match=r"broken_sibling\.py, line 2: "):
        resolve(write("import broken_sibling\ndef make(): pass\n"))


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no file .*/absent\.py$"):
        resolve(f"{tmp_path}/absent.py:make")


def test_file_without_a_function(write: WriteFile) -> None:
    path = write("def make(): pass\n").removesuffix(":make")
    with pytest.raises(InvalidArgument, match=r"must name the function that makes it: .*mine\.py:make$"):
        resolve(path)
    for name in ("", "a b", "make()"):
        with pytest.raises(InvalidArgument, match="must name a function after the colon, got"):
            resolve(f"{path}:{name}")


def test_interruption_of_a_factory_passes_through(write: WriteFile) -> None:
    with pytest.raises(KeyboardInterrupt):
        resolve(write("def make(): raise KeyboardInterrupt\n"))


def test_modules_beside_the_file_can_be_imported(
    write: WriteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sibling_of_mine.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    (tmp_path / "later_sibling.py").write_text("SIZE = 2\n")
    path = write(
        DATA + "from sibling_of_mine import Net\n"
        "def make():\n    from later_sibling import SIZE\n    return Net(3, SIZE), cross_entropy, (x, y)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = list(sys.path)
    # A relative path too: it is found from where the command runs.
    for target in (path, "../mine.py:make"):
        objective = resolve(target).objective
        assert isinstance(objective, Objective)
        assert type(objective.model).__name__ == "Net"
        assert sys.path == before
        assert Path(os.getcwd()) == elsewhere


def test_import_path_is_put_back_after_an_error(write: WriteFile) -> None:
    before = list(sys.path)
    for source in ("def make(: pass", "raise ValueError", "def make(): raise ValueError", ""):
        with pytest.raises(InvalidArgument):
            resolve(write(source))
        assert sys.path == before


def test_objective_that_is_neither_model_nor_surface(write: WriteFile) -> None:
    class Shifted(AbstractObjective):
        """Someone's own objective: a surface seen from another start."""

        name = "shifted"
        inner = surfaces.get("booth")
        size, dtype, device, blocks = inner.size, inner.dtype, inner.device, inner.blocks
        point = torch.tensor([1.0, -1.0], dtype=torch.float64)

        def at(self, theta=None):
            return self.inner.at(self.checked_point(theta))

        def fingerprint(self) -> str:
            return "shifted"

    assert resolve(Shifted()).name == "shifted"
    assert resolve(Shifted()).kind == "objective"
