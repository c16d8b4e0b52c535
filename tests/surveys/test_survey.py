from __future__ import annotations

import math
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from surveys.oracle import derivatives, loss_at
from thalweg import problems, surfaces
from thalweg.errors import InvalidArgument, NotDifferentiable, RunConflict
from thalweg.objective import AbstractObjective, Objective
from thalweg.problems import Problem, Training
from thalweg.store import Run, dataset
from thalweg.surfaces import Surface
from thalweg.surveys import Settings, SurveyResult, folder_name, survey

COARSE = Settings(resolution=3, line_resolution=5, k=4, probes=2, steps=4)
NAMES = [
    "target", "provenance", "training", "quality", "gradient", "eigenpairs", "trace", "density",
    "classification", "sharpness", "stability", "slice.line", "slice.domain", "slice.random",
    "slice.trajectory", "slice.eigen", "verdict",
]  # fmt: skip

# Losses here are single-precision means of some 100 terms: each of a few dozen operations rounds by 6e-8.
LOSS = {"rel": 1e-5, "abs": 1e-7}


def points(out: Path, grid: str) -> dict[tuple[int, ...], dict[str, float]]:
    with Run.read(out) as run:
        return run.points(grid)


def check_eigenvalues(found: dict[str, Any], hessian: Tensor, rounding: float) -> None:
    """Within its residual of each value lies an exact one (Parlett, theorem 4.5.1); the ends are the ends."""
    exact = torch.linalg.eigvalsh(hessian)
    scale = float(exact.abs().max())
    assert all(found["converged"])
    for value, residual in zip(found["values"], found["residuals"], strict=True):
        assert float((exact - value).abs().min()) <= residual + rounding * scale
    # A Ritz value is off by the residual at most, and that is within tol of the largest.
    error = (found["tol"] + rounding) * scale
    assert found["values"][0] == pytest.approx(float(exact[-1]), abs=error)
    assert found["values"][-1] == pytest.approx(float(exact[0]), abs=error)


class TestProblem:
    """A small network on the wine table, trained by momentum for six epochs."""

    TRAINING = Training("momentum", lr=0.05, momentum=0.9, batch_size=32, epochs=6)

    @pytest.fixture(scope="class")
    @staticmethod
    def task() -> Problem:
        return problems.get("wine", hidden=(6,))

    @pytest.fixture(scope="class")
    @staticmethod
    def found(task: Problem, tmp_path_factory: pytest.TempPathFactory) -> SurveyResult:
        out = tmp_path_factory.mktemp("survey") / "wine"
        return survey(task, out, settings=replace(COARSE, tol=1e-4), training=TestProblem.TRAINING)

    @pytest.fixture(scope="class")
    @staticmethod
    def path(found: SurveyResult) -> Tensor:
        """The weights after each epoch, as vectors."""
        with Run.read(found.path) as run:
            names = sorted(name for name in run.tensor_names() if name.startswith("epoch-"))
            states = [run.tensors(name) or {} for name in names]
        order = ["linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"]
        return torch.stack(
            [torch.cat([torch.from_numpy(state[name]).flatten() for name in order]) for state in states]
        )

    @pytest.fixture(scope="class")
    @staticmethod
    def model(task: Problem, path: Tensor) -> nn.Module:
        model = task.make_model()
        nn.utils.vector_to_parameters(path[-1], model.parameters())
        return model

    @pytest.fixture(scope="class")
    @staticmethod
    def exact(task: Problem, model: nn.Module) -> tuple[Tensor, Tensor]:
        return derivatives(model, cross_entropy, *task.train)

    def test_results_have_their_documented_names(self, found: SurveyResult) -> None:
        assert list(found.results) == NAMES
        with Run.read(found.path) as run:
            assert run.kind == "survey"
            assert run.results() == found.results
            sizes = {"eigen": 9, "line": 5, "random": 9, "trajectory": 9}
            assert {name: len(run.points(name)) for name in run.grids()} == sizes | {
                f"{name}.evaluated": size for name, size in sizes.items()
            }
            assert len(run.series("training")) == 7

    def test_target_and_training(self, found: SurveyResult) -> None:
        target, how = found.results["target"], found.results["training"]
        assert (target["name"], target["kind"], target["samples"]) == ("wine", "problem", 142)
        assert target["parameters"] == 13 * 6 + 6 + 6 * 3 + 3
        assert [block["shape"] for block in target["blocks"]] == [[6, 13], [6], [3, 6], [3]]
        assert target["samples"] + target["test_samples"] == 178
        # 142 samples in batches of 32 are 5 steps.
        assert (how["steps"], how["epochs"], how["diverged"]) == (30, 6, False)

    def test_quality(self, found: SurveyResult, task: Problem, model: nn.Module) -> None:
        for split, (x, y) in (("train", task.train), ("test", task.test)):
            measured = found.results["quality"][split]
            losses = torch.stack(
                [cross_entropy(model(a[None]), b[None]).detach() for a, b in zip(x, y, strict=True)]
            )
            assert measured["loss"]["value"] == pytest.approx(float(losses.mean()), **LOSS)
            assert measured["loss"]["stderr"] == pytest.approx(float(losses.std()) / len(y) ** 0.5, rel=1e-3)
            share = float((model(x).argmax(1) == y).double().mean())
            assert measured["accuracy"]["value"] == pytest.approx(share, rel=1e-6)
            assert measured["loss"]["samples"] == len(y)

    def test_gradient(self, found: SurveyResult, path: Tensor, exact: tuple[Tensor, Tensor]) -> None:
        # Its terms cancel down from about 1: single precision leaves 1e-6 of that.
        measured = found.results["gradient"]
        assert measured["norm"] == pytest.approx(float(exact[0].norm()), rel=1e-4, abs=1e-6)
        assert measured["point_norm"] == pytest.approx(float(path[-1].norm()), rel=1e-6)

    def test_eigenvalues(self, found: SurveyResult, exact: tuple[Tensor, Tensor]) -> None:
        check_eigenvalues(found.results["eigenpairs"], exact[1], rounding=1e-5)
        assert found.results["eigenpairs"]["tol"] == 1e-4
        values = torch.linalg.eigvalsh(exact[1])
        kind = found.results["classification"]
        assert kind["index"] == int((values < -kind["error"]).sum())
        assert kind["gradient_norm"] == pytest.approx(float(exact[0].norm()), rel=1e-4, abs=1e-6)
        assert kind["largest"] == pytest.approx(float(values[-1]), rel=1e-4)

    def test_trace_and_density(self, found: SurveyResult, exact: tuple[Tensor, Tensor]) -> None:
        hessian, size = exact[1], len(exact[1])
        trace, density = found.results["trace"], found.results["density"]
        # Four standard errors; each is itself estimated, from twelve probes or more.
        assert abs(trace["value"] - float(hessian.trace())) <= 4 * trace["stderr"] + 1e-5 * float(
            hessian.trace()
        )
        assert density["size"] == size
        assert len(density["grid"]) == len(density["density"]) == len(density["stderr"])
        mass = np.trapezoid(density["density"], density["grid"])
        # The Gaussians are cut at five widths, and summed over steps of less than half a width.
        assert mass == pytest.approx(1, abs=1e-3)
        assert (density["probes"], density["steps"]) == (2, 4)

    def test_sharpness(
        self, found: SurveyResult, task: Problem, model: nn.Module, path: Tensor, exact: tuple[Tensor, Tensor]
    ) -> None:
        sam, average = found.results["sharpness"]
        assert (sam["kind"], average["kind"]) == ("sam", "average")
        x, y = task.train
        uphill = path[-1].double() + 0.05 * exact[0] / exact[0].norm()
        rise = loss_at(model, cross_entropy, x, y, uphill) - loss_at(model, cross_entropy, x, y)
        # The difference of two single-precision losses.
        assert sam["value"] == pytest.approx(rise, abs=2e-6)
        # To second order ½ρ² tr H / n; the third is smaller by ρ times a ratio of order 1.
        expected = 0.05**2 / 2 * float(exact[1].trace()) / len(exact[1])
        assert abs(average["value"] - expected) <= 5 * average["error"] + 0.2 * abs(expected)

    def test_stable_rate_of_momentum(self, found: SurveyResult, exact: tuple[Tensor, Tensor]) -> None:
        edge = found.results["stability"]
        assert edge["optimizer"] == "momentum"
        assert edge["rate"] == pytest.approx(2 * 1.9 / float(torch.linalg.eigvalsh(exact[1])[-1]), rel=2e-4)
        assert edge["used"] == 0.05
        assert edge["ratio"] == pytest.approx(0.05 / edge["rate"], rel=1e-12)

    def test_eigen_slice_is_the_loss_at_those_points(
        self, found: SurveyResult, task: Problem, model: nn.Module, path: Tensor
    ) -> None:
        with Run.read(found.path) as run:
            vectors = torch.from_numpy((run.tensors("eigenvectors") or {})["vectors"])
        described = found.results["slice.eigen"]
        alphas, betas = described["axes"]["alpha"], described["axes"]["beta"]
        assert alphas[1] == betas[1] == 0
        for (i, j), values in points(found.path, "eigen").items():
            theta = path[-1] + alphas[i] * vectors[:, 0] + betas[j] * vectors[:, 1]
            expected = loss_at(model, cross_entropy, *task.train, theta)
            assert values["loss"] == pytest.approx(expected, **LOSS)
            assert 0 <= values["accuracy"] <= 1

    def test_trajectory_slice_against_a_singular_value_decomposition(
        self, found: SurveyResult, task: Problem, model: nn.Module, path: Tensor
    ) -> None:
        described = found.results["slice.trajectory"]
        offsets = (path - path[-1]).double()
        _, sizes, right = torch.linalg.svd(offsets, full_matrices=False)
        share = sizes.square() / sizes.square().sum()
        assert described["facts"]["variance_explained"] == pytest.approx(float(share[:2].sum()), rel=1e-4)
        coordinates = torch.tensor(described["path"], dtype=torch.float64)
        size = float(offsets.norm(dim=1).max())
        # Principal directions are known up to their sign.
        signs = (coordinates * (offsets @ right[:2].T)).sum(0).sign()
        directions = right[:2].T * signs
        assert torch.allclose(coordinates, offsets @ directions, atol=1e-4 * size)
        away = (offsets - offsets @ directions @ directions.T).norm(dim=1)
        assert torch.allclose(
            torch.tensor(described["distances"], dtype=torch.float64), away, atol=1e-4 * size
        )
        axes = described["axes"]
        for (i, j), values in points(found.path, "trajectory").items():
            place = torch.tensor([axes["alpha"][i], axes["beta"][j]], dtype=torch.float64)
            expected = loss_at(model, cross_entropy, *task.train, path[-1].double() + directions @ place)
            # The direction of the second is known to the ratio of rounding and its share of the path.
            assert values["loss"] == pytest.approx(expected, rel=1e-3)

    def test_path_has_the_losses_of_training(
        self, found: SurveyResult, task: Problem, model: nn.Module, path: Tensor
    ) -> None:
        losses = found.results["slice.trajectory"]["path_loss"]
        with Run.read(found.path) as run:
            assert losses == pytest.approx([row["loss"] for row in run.series("training")], rel=1e-6)
        assert losses == pytest.approx(
            [loss_at(model, cross_entropy, *task.train, theta) for theta in path], **LOSS
        )

    def test_random_slices_are_filter_normalized(
        self, found: SurveyResult, task: Problem, model: nn.Module, path: Tensor
    ) -> None:
        middle = loss_at(model, cross_entropy, *task.train)
        for name, center in (("line", (2,)), ("random", (1, 1))):
            described = found.results[f"slice.{name}"]
            assert described["facts"]["normalization"] == "filter"
            assert "filter-normalized" in described["title"]
            assert described["axes"]["alpha"] == pytest.approx(
                np.linspace(-1, 1, len(described["axes"]["alpha"]))
            )
            assert points(found.path, name)[center]["loss"] == pytest.approx(middle, **LOSS)
            assert any("Biases" in limit for limit in described["limits"])

    def test_verdict_and_provenance(self, found: SurveyResult) -> None:
        assert found.verdict == found.results["verdict"]["sentence"]
        made = found.results["provenance"]
        assert made["seed"] == 0
        assert made["settings"]["resolution"] == 3
        assert made["versions"]["torch"] == version("torch")
        assert made["threads"] == torch.get_num_threads()
        assert "thalweg.survey('wine'" in made["command"]


class TestPlanesToATolerance:
    """The maps of a network that are known from a part of their points, against those of which every point is."""

    SETTINGS = replace(COARSE, resolution=21)
    PLANES = ("random", "trajectory", "eigen")

    @pytest.fixture(scope="class")
    @staticmethod
    def found(tmp_path_factory: pytest.TempPathFactory) -> dict[float, SurveyResult]:
        out = tmp_path_factory.mktemp("adaptive")
        training = Training("adam", lr=0.01, epochs=5)
        return {
            rtol: survey(
                "wine",
                out / str(rtol),
                settings=replace(TestPlanesToATolerance.SETTINGS, rtol=rtol),
                training=training,
            )
            for rtol in (0.0, 0.01)
        }

    def test_fewer_points_give_the_map_to_the_stated_error(self, found: dict[float, SurveyResult]) -> None:
        saved = 0
        for plane in self.PLANES:
            whole, part = points(found[0.0].path, plane), points(found[0.01].path, plane)
            described = found[0.01].results[f"slice.{plane}"]
            assert (described["points"], len(part)) == (441, 441)
            evaluated = {index for index, row in part.items() if row.get("evaluated", 1.0)}
            assert described["evaluations"] == len(evaluated)
            saved += 441 - len(evaluated)
            exact = np.array([whole[index]["loss"] for index in part])
            off = np.abs(np.array([row["loss"] for row in part.values()]) - exact)
            size = np.maximum(np.abs(exact), 1e-3 * np.ptp(exact))
            assert (off / size).max() <= described["error"] + 1e-12
            # Accuracies are those of the points evaluated.
            for index, row in part.items():
                if index in evaluated:
                    assert row["accuracy"] == whole[index]["accuracy"]
                else:
                    assert math.isnan(row["accuracy"])
        assert saved >= 441

    def test_every_point_is_evaluated_where_that_is_asked_for(self, found: dict[float, SurveyResult]) -> None:
        for plane in self.PLANES:
            described = found[0.0].results[f"slice.{plane}"]
            assert (described["evaluations"], described["points"], described["error"]) == (441, 441, 0)
            assert "All 441 points evaluated." in described["caption"]

    def test_slices_say_what_they_rest_on_and_hide(self, found: dict[float, SurveyResult]) -> None:
        results = found[0.01].results
        top = results["eigenpairs"]["values"][0]
        for plane in self.PLANES:
            described = results[f"slice.{plane}"]
            assert described["caption"][0].startswith("Evaluated on all 142 samples; ")
            count, error = described["evaluations"], described["error"]
            if error:
                assert (
                    f"{count} of 441 points evaluated, the rest interpolated to 1 %." in described["caption"]
                )
            assert described["limits"][0].startswith("In the picture the curvature at (0, 0) is ")
            with Run.read(found[0.01].path) as run:
                attributes = dataset(run, plane).attrs
            assert attributes["curvature_largest"][0] == pytest.approx(top)
            assert (attributes["samples"], attributes["points_evaluated"]) == (142, count)
        with Run.read(found[0.01].path) as run:
            inner = dataset(run, "eigen").attrs["curvature_in_plane"]
        # The plane of the two stiffest directions has their curvature.
        assert inner == pytest.approx(results["eigenpairs"]["values"][:2], rel=1e-2)


def test_a_descent_that_never_leaves_its_start_has_no_line(tmp_path: Path) -> None:
    surface = Surface("bowl", lambda x: (x**2).sum(0), [0.0, 0.0, 0.0])
    found = survey(surface, tmp_path / "run", settings=COARSE)
    assert found.results["slice.line"] is None
    with Run.read(found.path) as run:
        assert any("did not leave its start" in note for note in run.notes())


class Counted(nn.Module):
    """A network of the user's own, in the state in which training left it; counts its evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 3)
        )
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.body(x)


def classes(samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, generator=draw)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()


def own_model() -> Counted:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    model = Counted()
    x, y = classes(60)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    torch.set_rng_state(state)
    return model


def own_objective(model: nn.Module) -> Objective:
    loader = DataLoader(TensorDataset(*classes(60)), batch_size=16, shuffle=True)
    return Objective(model, cross_entropy, loader, name="mine")


class TestOwnObjective:
    def test_numbers_and_untouched_model(self, tmp_path: Path) -> None:
        model = own_model()
        model.body[1].eval()
        modes = [module.training for module in model.modules()]
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        gradients = [parameter.grad for parameter in model.parameters()]
        values = [gradient.clone() for gradient in gradients]
        random = torch.get_rng_state()

        found = survey(own_objective(model), tmp_path / "run", settings=COARSE)

        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        for parameter, before, value in zip(model.parameters(), gradients, values, strict=True):
            assert parameter.grad is before
            assert torch.equal(before, value)
            assert parameter.requires_grad
        assert torch.equal(torch.get_rng_state(), random)

        assert list(found.results) == NAMES
        assert found.results["slice.trajectory"] is None
        assert found.results["training"] == {"source": "the model's own point"}
        assert found.results["target"]["kind"] == "objective"
        assert found.results["stability"]["used"] is None
        x, y = classes(60)
        gradient, hessian = derivatives(model, cross_entropy, x, y)
        quality = found.results["quality"]
        assert list(quality) == ["train"]
        assert quality["train"]["loss"]["value"] == pytest.approx(loss_at(model, cross_entropy, x, y), **LOSS)
        assert found.results["gradient"]["norm"] == pytest.approx(float(gradient.norm()), rel=1e-4)
        check_eigenvalues(found.results["eigenpairs"], hessian, rounding=1e-5)
        # 2/λmax: no optimizer is known here. tol is 1e-3 of λmax.
        top = float(torch.linalg.eigvalsh(hessian)[-1])
        assert found.results["stability"]["rate"] == pytest.approx(2 / top, rel=2e-3)

    def test_second_call_returns_what_is_there(self, tmp_path: Path) -> None:
        model = own_model()
        model.calls = 0
        first = survey(own_objective(model), tmp_path / "run", settings=COARSE)
        whole = model.calls
        with Run.read(first.path) as run:
            seconds, evaluations = run.seconds(), {grid: run.evaluations(grid) for grid in run.grids()}
        model.calls = 0
        again = survey(own_objective(model), tmp_path / "run", settings=COARSE)
        assert repr(again.results) == repr(first.results)
        with Run.read(first.path) as run:
            assert run.seconds() == seconds
            assert {grid: run.evaluations(grid) for grid in run.grids()} == evaluations
        # Four batches: one pass finds out which metrics there are, one that the loss is finite, and each looks
        # twice for randomness first. Nothing is measured again.
        assert model.calls <= 20 < whole / 10

    def test_other_settings_are_refused_by_name(self, tmp_path: Path) -> None:
        model = own_model()
        survey(own_objective(model), tmp_path / "run", settings=COARSE)
        for key, value in {"resolution": 4, "seed": 1, "span": 0.5, "k": 5, "tol": 0.1, "rho": 0.1}.items():
            was = getattr(COARSE, key)
            with pytest.raises(RunConflict, match=f"{key} was {was}, now {value}") as error:
                survey(own_objective(model), tmp_path / "run", settings=replace(COARSE, **{key: value}))
            assert "\n" not in str(error.value)

    def test_other_data_or_weights_are_refused(self, tmp_path: Path) -> None:
        model = own_model()
        x, y = classes(60)
        held_out = classes(10, seed=1)
        survey((model, cross_entropy, (x, y), held_out), tmp_path / "run", settings=COARSE)
        with pytest.raises(RunConflict, match="other objective"):
            survey((model, cross_entropy, (x + 1, y), held_out), tmp_path / "run", settings=COARSE)
        with pytest.raises(RunConflict, match="other test"):
            survey((model, cross_entropy, (x, y), (x[:10], y[:10])), tmp_path / "run", settings=COARSE)
        with torch.no_grad():
            model.body[0].bias += 1
        with pytest.raises(RunConflict, match="start was"):
            survey((model, cross_entropy, (x, y), held_out), tmp_path / "run", settings=COARSE)

    def test_folder_with_other_files_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(RunConflict, match=r"holds other files \(thesis.tex\)"):
            survey(own_objective(own_model()), tmp_path, settings=COARSE)
        assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


class Diagonal(nn.Module):
    """Parameters without a matrix among them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.shift = nn.Parameter(torch.tensor([0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.scale).sum(1, keepdim=True) + self.shift


def regression(samples: int = 40) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 3, generator=draw)
    return x, x @ torch.tensor([[1.0], [2.0], [3.0]]) + 0.1


def test_regression_has_a_loss_and_no_accuracy(tmp_path: Path) -> None:
    x, y = regression()
    model = nn.Linear(3, 1)
    found = survey((model, mse_loss, (x, y), (x[:7], y[:7])), tmp_path / "run", settings=COARSE)
    for split, data in (("train", (x, y)), ("test", (x[:7], y[:7]))):
        measured = found.results["quality"][split]
        assert list(measured) == ["loss"]
        assert measured["loss"]["value"] == pytest.approx(loss_at(model, mse_loss, *data), **LOSS)
    assert found.results["slice.random"]["metrics"] == ["loss"]
    assert "classifies" not in found.verdict
    # The Hessian of mean squared error in (w, b) is 2/N XᵀX with a column of ones.
    design = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    check_eigenvalues(found.results["eigenpairs"], 2 / len(x) * design.T @ design, rounding=1e-5)


def test_binary_labels_as_numbers_have_an_accuracy(tmp_path: Path) -> None:
    x, _ = regression()
    y = (x[:, :1] > 0).float()
    model = nn.Linear(3, 1)
    found = survey(
        (model, nn.functional.binary_cross_entropy_with_logits, (x, y)), tmp_path / "run", settings=COARSE
    )
    right = float(((model(x) > 0) == (y > 0.5)).double().mean())
    assert found.results["quality"]["train"]["accuracy"]["value"] == pytest.approx(right, rel=1e-6)


def test_model_of_vectors_only_falls_back_to_unit_directions(tmp_path: Path) -> None:
    x, y = regression()
    model = Diagonal()
    found = survey((model, mse_loss, (x, y)), tmp_path / "run", settings=COARSE)
    for name in ("slice.line", "slice.random"):
        described = found.results[name]
        assert described["facts"]["normalization"] == "none"
        assert "of unit length" in described["title"]
        assert "normalized" not in described["title"]
    # The loss is quadratic: along a line the second difference is the same everywhere, dᵀHd·h² with ‖d‖ = 1.
    losses = np.array([values["loss"] for values in points(found.path, "line").values()])
    second = np.diff(losses, 2) / 0.5**2
    assert second == pytest.approx(np.full(3, second[0]), rel=1e-3)
    values = torch.linalg.eigvalsh(derivatives(model, mse_loss, x, y)[1])
    assert float(values[0]) <= second[0] * (1 + 1e-3)
    assert second[0] <= float(values[-1]) * (1 + 1e-3)


def test_zero_weights_can_be_surveyed(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    nn.init.ones_(model.bias)
    found = survey((model, mse_loss, regression()), tmp_path / "run", settings=COARSE)
    assert found.results["slice.random"]["facts"]["normalization"] == "none"


def test_layer_normalization_needs_no_matrix(tmp_path: Path) -> None:
    settings = replace(COARSE, normalization="layer")
    found = survey((Diagonal(), mse_loss, regression()), tmp_path / "run", settings=settings)
    assert found.results["slice.random"]["facts"]["normalization"] == "layer"
    assert "layer-normalized" in found.results["slice.random"]["title"]


def test_two_eigenpairs_leave_the_plane_of_the_two_stiffest(tmp_path: Path) -> None:
    model = Diagonal()
    found = survey((model, mse_loss, regression()), tmp_path / "run", settings=replace(COARSE, k=2))
    values = torch.linalg.eigvalsh(derivatives(model, mse_loss, *regression())[1])
    facts = found.results["slice.eigen"]["facts"]
    assert [facts["lambda_1"], facts["lambda_2"]] == pytest.approx(values.flip(0)[:2].tolist(), rel=1e-5)
    assert found.results["eigenpairs"]["values"] == pytest.approx(
        [float(values[-1]), float(values[0])], rel=1e-5
    )


def test_loss_that_does_not_split_into_samples(tmp_path: Path) -> None:
    x, y = regression()
    made = {
        "model": Diagonal(),
        "data": (x, y),
        "batch_loss": lambda model, batch: mse_loss(model(batch[0]), batch[1]),
    }
    found = survey(made, tmp_path / "run", settings=COARSE)
    assert math.isnan(found.results["quality"]["train"]["loss"]["stderr"])
    assert "nan" not in found.verdict.lower()


def test_loss_that_is_not_finite_at_the_point(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    nn.init.constant_(model.weight, math.nan)
    with pytest.raises(InvalidArgument, match="the loss of Linear at the model's own point is nan"):
        survey((model, mse_loss, regression()), tmp_path / "run", settings=COARSE)
    assert not (tmp_path / "run").exists()


def test_derivative_that_is_not_finite_at_the_point(tmp_path: Path) -> None:
    class Root(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.weight.sqrt().sum()

    model = Root(3, 1)
    nn.init.zeros_(model.weight)
    with pytest.raises(NotDifferentiable, match="not finite"):
        survey((model, mse_loss, regression()), tmp_path / "run", settings=COARSE)


class TestSurfaces:
    def test_himmelblau(self, tmp_path: Path) -> None:
        found = survey("himmelblau", tmp_path / "run", settings=COARSE)
        assert list(found.results) == NAMES
        assert found.results["slice.trajectory"] is None
        assert found.results["slice.eigen"] is None
        # At (3, 2) the Hessian is [[74, 20], [20, 34]]: eigenvalues 54 ± √800.
        exact = [54 + 800**0.5, 54 - 800**0.5]
        # The descent stops at a gradient of about 1e-10, some 1e-11 from the minimum.
        assert found.results["eigenpairs"]["values"] == pytest.approx(exact, rel=1e-8)
        assert found.results["stability"]["rate"] == pytest.approx(2 / exact[0], rel=1e-8)
        assert found.results["trace"]["value"] == pytest.approx(108, rel=1e-8)
        assert found.results["classification"]["kind"] == "minimum"
        assert found.results["quality"]["train"]["loss"]["value"] < 1e-15
        assert "himmelblau" in found.verdict
        assert "minimum" in found.verdict

    @pytest.mark.parametrize(
        ("name", "formula"),
        [
            ("himmelblau", lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
            # Its start is not the origin: the coordinates must be x and y themselves all the same.
            ("rosenbrock", lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2),
            ("monkey_saddle", lambda x, y: x**3 - 3 * x * y**2),
        ],
    )
    def test_map_of_the_plane(self, tmp_path: Path, name: str, formula: Any) -> None:
        found = survey(name, tmp_path / "run", settings=COARSE)
        described, surface = found.results["slice.domain"], surfaces.get(name)
        alphas, betas = described["axes"]["alpha"], described["axes"]["beta"]
        assert [alphas[0], alphas[-1]] == surface.domain[0].tolist()
        assert [betas[0], betas[-1]] == surface.domain[1].tolist()
        assert described["origin"] == [0, 0]
        for (i, j), values in points(found.path, "domain").items():
            # Terms of order 10⁴ at most, in double precision.
            assert values["loss"] == pytest.approx(formula(alphas[i], betas[j]), rel=1e-12, abs=1e-10)
        path = np.array(described["path"])
        assert path[0] == pytest.approx(surface.point.tolist(), abs=1e-12)
        assert described["path_loss"] == pytest.approx(list(formula(*path.T)), rel=1e-9, abs=1e-12)
        assert np.max(described["distances"]) <= 1e-9 * (1 + np.abs(path).max())

    def test_line_from_start_to_end(self, tmp_path: Path) -> None:
        found = survey("booth", tmp_path / "run", settings=COARSE)
        start, end = surfaces.get("booth").point.numpy(), np.array([1.0, 3.0])
        described = found.results["slice.line"]
        assert described["axes"]["alpha"] == pytest.approx([-0.25, 0.125, 0.5, 0.875, 1.25])
        for (i,), values in points(found.path, "line").items():
            x, y = start + described["axes"]["alpha"][i] * (end - start)
            # The end is found to about 1e-10, the loss is of order 100 with a slope of as much.
            assert values["loss"] == pytest.approx((x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2, abs=1e-7)

    def test_monkey_saddle_has_no_minimum(self, tmp_path: Path) -> None:
        found = survey("monkey_saddle", tmp_path / "run", settings=COARSE)
        assert found.results["training"]["diverged"] is True
        assert found.results["classification"]["kind"] == "not critical"
        assert "did not settle" in found.verdict
        assert "training" not in found.verdict
        # The trace of its Hessian, 6x − 6x, is zero everywhere.
        assert found.results["eigenpairs"]["values"][0] == pytest.approx(
            -found.results["eigenpairs"]["values"][1], rel=1e-10
        )

    def test_quadratic_in_ten_dimensions(self, tmp_path: Path) -> None:
        found = survey(
            "quadratic", tmp_path / "run", settings=COARSE, parameters={"condition_number": 77.7, "dim": 10}
        )
        exact = [77.7 ** (i / 9) for i in range(10)]
        # The dimension is below the Krylov space's: a dense double-precision eigenproblem, some n·2⁻⁵².
        pairs = found.results["eigenpairs"]
        assert pairs["values"] == pytest.approx([exact[9], exact[8], exact[1], exact[0]], rel=1e-12)
        assert found.results["stability"]["rate"] == pytest.approx(2 / 77.7, rel=1e-12)
        assert found.results["stability"]["lambda_max"] == pytest.approx(77.7, rel=1e-12)
        assert found.results["trace"]["value"] == pytest.approx(sum(exact), rel=1e-12)
        assert found.results["density"]["fraction_negative"]["value"] == 0
        average = found.results["sharpness"][1]
        # Mean of ½ρ²uᵀAu over unit vectors, ½ρ² tr A / n; five standard errors.
        expected = 0.05**2 / 2 * sum(exact) / 10
        assert abs(average["value"] - expected) <= 5 * average["error"]
        with Run.read(found.path) as run:
            vectors = np.abs((run.tensors("eigenvectors") or {})["vectors"])
        # The axes, in the order of the values.
        assert vectors == pytest.approx(np.eye(10)[:, [9, 8, 1, 0]], abs=1e-10)
        described = found.results["slice.eigen"]
        for (i, j), values in points(found.path, "eigen").items():
            alpha, beta = described["axes"]["alpha"][i], described["axes"]["beta"][j]
            loss = (exact[9] * alpha**2 + exact[8] * beta**2) / 2
            assert values["loss"] == pytest.approx(loss, rel=1e-9, abs=1e-15)
        for name in ("slice.random", "slice.line", "slice.trajectory"):
            assert found.results[name]["error"] == 0

    @pytest.mark.parametrize(("dim", "condition"), [(1, 5), (3, 1)])
    def test_path_on_a_line_spans_no_plane(self, tmp_path: Path, dim: int, condition: float) -> None:
        parameters = {"condition_number": condition, "dim": dim}
        found = survey("quadratic", tmp_path / "run", settings=COARSE, parameters=parameters)
        assert found.results["slice.trajectory"] is None
        assert found.results["classification"]["kind"] == "minimum"

    def test_loss_that_is_undefined_on_part_of_the_map(self, tmp_path: Path) -> None:
        def formula(p: Tensor) -> Tensor:
            return (p[0] - 1) ** 2 / 2 + p[1] - p[1].log()

        surface = Surface("logarithm", formula, [1.5, 0.5], domain=[(0.0, 2.0), (-1.0, 3.0)])
        found = survey(surface, tmp_path / "run", settings=replace(COARSE, resolution=5))
        # At the minimum (1, 1) the Hessian is the identity.
        assert found.results["eigenpairs"]["values"] == pytest.approx([1, 1], rel=1e-6)
        described = found.results["slice.domain"]
        kinds = set()
        for (i, j), values in points(found.path, "domain").items():
            x, y = described["axes"]["alpha"][i], described["axes"]["beta"][j]
            expected = math.nan if y < 0 else math.inf if y == 0 else (x - 1) ** 2 / 2 + y - math.log(y)
            assert values["loss"] == pytest.approx(expected, rel=1e-12, nan_ok=True)
            kinds.add((math.isnan(expected), math.isinf(expected)))
        assert len(kinds) == 3
        again = survey(surface, tmp_path / "run", settings=replace(COARSE, resolution=5))
        assert repr(again.results) == repr(found.results)

    @pytest.mark.parametrize("name", surfaces.names())
    def test_every_surface_can_be_surveyed(self, tmp_path: Path, name: str) -> None:
        found = survey(name, tmp_path / "run", settings=COARSE)
        assert list(found.results) == NAMES
        assert found.verdict.startswith(name)
        assert "nan" not in found.verdict
        exact = (
            torch.linalg.eigvalsh(
                surfaces.get(name).hessian(torch.tensor(end_of(found), dtype=torch.float64))
            )
            if end_of(found)
            else None
        )
        if exact is not None:
            scale = float(exact.abs().max())
            assert found.results["eigenpairs"]["values"][0] == pytest.approx(
                float(exact[-1]), abs=1e-9 * scale + 1e-12
            )


def end_of(found: SurveyResult) -> list[float] | None:
    """The point that a two-dimensional surface was left at, as its map has it."""
    described = found.results["slice.domain"]
    return described["path"][-1] if described else None


def test_objective_of_ones_own_kind(tmp_path: Path) -> None:
    inner = surfaces.get("quadratic", condition_number=7, dim=3)

    class Shifted(AbstractObjective):
        name = "shifted"
        size, dtype, device, blocks = inner.size, inner.dtype, inner.device, inner.blocks
        point = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

        def at(self, theta: Tensor | None = None):
            return inner.at(self.checked_point(theta))

        def fingerprint(self) -> str:
            return "shifted"

    found = survey(Shifted(), tmp_path / "run", settings=COARSE)
    assert list(found.results) == NAMES
    # ½(1·1 + √7·4 + 7·9).
    assert found.results["quality"]["train"]["loss"]["value"] == pytest.approx(
        (1 + 4 * 7**0.5 + 63) / 2, rel=1e-14
    )
    assert found.results["classification"]["kind"] == "not critical"


class Interrupt:
    """A progress display that is interrupted at the n-th thing it is told."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.stages: list[str] = []

    def stage(self, label: str) -> None:
        self.stages.append(label)
        self.count()

    def advance(self, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def numbers(out: Path) -> Any:
    with Run.read(out) as run:
        results = {name: value for name, value in run.results().items() if name != "provenance"}
        tensors = {
            name: {key: array.tobytes() for key, array in (run.tensors(name) or {}).items()}
            for name in run.tensor_names()
        }
        return (
            repr(results),
            repr([run.points(grid) for grid in run.grids()]),
            run.series("training"),
            tensors,
        )


@pytest.mark.parametrize("what", ["problem", "surface"])
def test_interrupted_anywhere_continues_to_the_same_numbers(tmp_path: Path, what: str) -> None:
    training = Training("adam", lr=0.01, epochs=3)
    options: dict[str, Any] = {
        "problem": {"target": "wine", "parameters": {"hidden": (3,)}, "training": training},
        "surface": {"target": "quadratic", "parameters": {"dim": 3}},
    }[what]
    listener = Interrupt(10**6)
    survey(out=tmp_path / "whole", settings=COARSE, progress=listener, **options)
    told = 10**6 - listener.left
    assert listener.stages[0] == ("training" if what == "problem" else "going to the point")
    assert len(listener.stages) == 14
    # Interrupted after every seventh thing of what is left, until it gets through.
    interrupted = 0
    while interrupted < told:
        try:
            survey(out=tmp_path / "broken", settings=COARSE, progress=Interrupt(7), **options)
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert 3 <= interrupted < told
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
    with Run.read(tmp_path / "broken") as run:
        for grid in run.grids():
            assert run.evaluations(grid) == len(run.points(grid))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("digits", "digits"),
        ("models/net.py:make", "net-make"),
        ("../a b/my net.py:make", "my-net-make"),
        ("...", "survey"),
        ("", "survey"),
        ("größe/netz.py:bau", "netz-bau"),
    ],
)
def test_folder_name(target: str, name: str) -> None:
    assert folder_name(target) == name


def test_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert survey("booth", settings=COARSE).path == Path("runs/booth")
    assert (tmp_path / "runs" / "booth" / "run.sqlite").is_file()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resolution": 0}, "resolution must be at least 3, got 0"),
        ({"line_resolution": 2}, "line_resolution must be at least 3, got 2"),
        ({"k": -3}, "k must be at least 2, got -3"),
        ({"probes": 1}, "probes must be at least 2, got 1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"span": math.nan}, "span must be positive and finite, got nan"),
        ({"span": math.inf}, "span must be positive and finite, got inf"),
        ({"tol": 0.0}, "tol must be positive and finite, got 0.0"),
        ({"trace_rtol": -1.0}, "trace_rtol must be positive and finite, got -1.0"),
        ({"rho": 0.0}, "rho must be positive and finite, got 0.0"),
        ({"normalization": "filters"}, "normalization must be filter, layer, model or none, got 'filters'"),
    ],
)
def test_settings_refuse_what_cannot_be_used(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Settings(**setting)
