"""`thalweg landscape` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from cli.conftest import Command
from thalweg import surfaces
from thalweg.cli.landscape import _figure, _place  # pyright: ignore[reportPrivateUsage]
from thalweg.landscape import evaluate, plane_through, random_plane
from thalweg.objective import Objective

SMALL = ("wine", "--set", "hidden=(3,)")


def test_a_surface_is_its_own_map(thalweg: Command) -> None:
    found = thalweg("landscape", "himmelblau", "--resolution", 21, "--json").json
    x, y = found["axes"].values()
    due = (
        np.square(np.square(x)[:, None] + y - 11) + np.square(np.array(x)[:, None] + np.square(y) - 7)
    ).ravel()
    assert np.ravel(found["values"]["loss"]) == pytest.approx(due, abs=1e-9)
    assert surfaces.himmelblau().domain[0].tolist() == [x[0], x[-1]]
    assert Path(found["picture"]).is_file()


def test_a_trained_model_and_its_trajectory(thalweg: Command) -> None:
    assert thalweg("train", *SMALL, "--epochs", 4, "--out", "a").status == 0
    told = thalweg("landscape", *SMALL, "--checkpoint", "a", "--resolution", 5)
    assert (told.status, told.err) == (0, "")
    assert "In the picture the curvature" in told.out
    drawn = (
        "landscape",
        *SMALL,
        "--trajectory",
        "a",
        "--resolution",
        5,
        "--metrics",
        "loss,accuracy",
        "--out",
        "t",
    )
    along = thalweg(*drawn, "--json").json
    assert along["kind"] == "trajectory"
    assert list(along["values"]) == ["loss", "accuracy"]
    with xr.open_dataset(along["dataset"], engine="h5netcdf") as data:
        assert np.array_equal(data.loss, along["values"]["loss"])
        assert any("random walk" in sentence for sentence in data.attrs["limits"])
    # The same command evaluates nothing again.
    again = thalweg(*drawn, "--json").json
    assert again["evaluations"] == 0
    assert again["values"] == along["values"]


def test_it_says_what_it_rests_on_and_hides(thalweg: Command) -> None:
    drawn = ("landscape", *SMALL, "--resolution", 15, "--samples", 60)
    told = thalweg(*drawn)
    assert "• Evaluated on 60 of 142 samples, drawn with seed 0; " in told.out
    found = thalweg(*drawn, "--json").json
    count = found["attributes"]["points_evaluated"]
    assert f"{count} of 225 points evaluated, the rest interpolated to 1 %." in found["caption"]
    assert found["evaluations"] == 0
    top = found["attributes"]["curvature_largest"]
    assert len(top) == len(found["attributes"]["degrees_to_largest"]) == 3
    with xr.open_dataset(found["dataset"], engine="h5netcdf") as data:
        assert list(data.attrs["curvature_largest"]) == top
        assert (data.attrs["samples"], data.attrs["samples_of"]) == (60, 142)
    # And in what is exported of the run.
    assert thalweg("export", found["run"], "--format", "vtk", "--out", "vtk").status == 0
    text = Path("vtk/slice.vtk").read_text()
    assert "\nsamples 1 1 double\n60.0\n" in text
    assert "\ncurvature_largest 1 3 double\n" in text
    whole = thalweg("landscape", *SMALL, "--resolution", 15, "--out", found["run"])
    assert "other objective" in whole.line


def test_through_checkpoints(thalweg: Command) -> None:
    for seed, name in enumerate("ab"):
        assert thalweg("train", *SMALL, "--epochs", 2, "--seed", seed, "--out", name).status == 0
    line = thalweg("landscape", *SMALL, "--plane", "a,b", "--resolution", 7, "--json").json
    assert line["kind"] == "through points"
    assert list(line["axes"]) == ["alpha"]


def test_the_figure_has_three_panels_in_a_row_and_marks_the_checkpoints() -> None:
    objective = Objective(torch.nn.Linear(3, 2), F.cross_entropy, (torch.eye(3), torch.tensor([0, 1, 0])))
    draw = torch.Generator().manual_seed(0)
    names = ("loss", "gradient_norm", "lambda_max", "lambda_min", "plane_lambda_min")
    chosen = plane_through(*torch.randn(3, objective.size, generator=draw))
    found = evaluate(objective, chosen, 5, metrics=names)
    # Of a convex loss λmin is zero to rounding: one of both signs shows the colours that part at zero.
    found.values["lambda_min"] = np.linspace(-1.0, 2.0, 25).reshape(5, 5)
    place = _place(found.plane, "runs/a,runs/b, runs/c", "its initialization from seed 0")
    assert place == ("through", "A = runs/a, B = runs/b and C = runs/c")
    figure = _figure(found, "digits")
    assert figure.get_figwidth() < 16
    maps = [ax for ax in figure.axes if ax.get_xlabel() == "from A to B"]
    assert len(maps) == 5
    rows = [ax.get_subplotspec().rowspan.start for ax in maps]  # pyright: ignore[reportOptionalMemberAccess]
    assert rows == [0, 0, 0, 1, 1]
    for ax in maps:
        assert {"A", "B", "C"} <= {text.get_text() for text in ax.texts}
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert "λmin of the Hessian" in texts
    assert not any("_" in text for text in texts)
    (filled, *_) = (one for one in maps[3].get_children() if isinstance(one, QuadContourSet))
    assert (filled.norm.vmin, filled.norm.vmax) == (-2.0, 2.0)
    assert _place(random_plane(objective), None, "its start") == ("at", "its start")


def test_a_map_that_takes_long_is_drawn_meanwhile(
    thalweg: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("thalweg.cli.landscape._PREVIEW_AFTER", 0.0)
    drawn: list[str] = []

    def save(figure: Figure, file: Path) -> None:
        drawn.append(f"{file.name}: {figure.get_suptitle()}")

    monkeypatch.setattr("thalweg.cli.landscape.save", save)
    found = thalweg("landscape", *SMALL, "--resolution", 25, "--out", tmp_path / "run")
    assert found.status == 0
    title = "slice.png: wine at its initialization from seed 0"
    assert drawn[0] == f"{title}, so far"
    assert drawn[-1] == title


def test_each_slice_has_its_own_folder(thalweg: Command) -> None:
    for seed, name in enumerate("ab"):
        assert thalweg("train", *SMALL, "--epochs", 2, "--seed", seed, "--out", name).status == 0
    drawn = ("landscape", *SMALL, "--resolution", 3)
    for arguments, folder in (
        ((), "wine-landscape"),
        (("--checkpoint", "a"), "a-landscape"),
        (("--checkpoint", "b"), "b-landscape"),
        (("--trajectory", "b"), "b-landscape-trajectory"),
        (("--plane", "a,b"), "wine-landscape-a-b"),
        (("--plane", "random-line"), "wine-landscape-random-line"),
        (("--normalization", "layer"), "wine-landscape-layer"),
        (("--samples", 60, "--seed", 3), "wine-landscape-60-samples-seed3"),
        (("--stack", 2, "--checkpoint", "a", "--samples", 60), "a-stack-60-samples"),
    ):
        assert thalweg(*drawn, *arguments, "--json").json["run"] == f"runs/{folder}"
    # Where it is another slice all the same, the message is for who types commands.
    other = thalweg(*drawn, "--normalization", "layer", "--out", "runs/wine-landscape").line
    assert (
        other
        == "runs/wine-landscape holds points of another slice: choose another --out, or delete the folder"
    )
    line = thalweg(*drawn, "--plane", "random-line", "--out", "runs/wine-landscape").line
    assert "choose another --out" in line


@pytest.mark.parametrize(
    ("metrics", "told"),
    [("loss,acuracy", "did you mean 'accuracy'?"), (",", "must name one or more of loss")],
)
def test_metrics_are_checked_before_a_folder_is_made(thalweg: Command, metrics: str, told: str) -> None:
    assert told in thalweg("landscape", *SMALL, "--metrics", metrics).line
    assert not list(Path().iterdir())


def test_a_stack_of_random_lines(thalweg: Command) -> None:
    stacked = ("landscape", *SMALL, "--stack", 3, "--resolution", 5, "--metrics", "loss,accuracy")
    told = thalweg(*stacked)
    assert (told.status, told.err) == (0, "")
    assert "3 random lines of 5 points" in told.out
    assert "3 lines through" in told.out
    # One line more: what is there is not evaluated again.
    found = thalweg("landscape", *SMALL, "--stack", 4, *stacked[-4:], "--json").json
    assert found["evaluations"] == 5
    assert [len(found["values"][name]) for name in ("loss", "accuracy")] == [4, 4]
    losses = np.array(found["values"]["loss"])
    assert found["mean"]["loss"] == pytest.approx(losses.mean(axis=0), rel=1e-12)
    assert found["std"]["loss"] == pytest.approx(losses.std(axis=0, ddof=1), rel=1e-12)
    # All lines cross at the weights.
    assert np.ptp(losses[:, 2]) == 0
    assert Path(found["picture"]).is_file()
    with xr.open_dataset(found["dataset"], engine="h5netcdf") as data:
        assert np.array_equal(data.loss, losses)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*SMALL, "--stack", 3, "--plane", "eigen"), "--stack draws random lines"),
        ((*SMALL, "--stack", 3, "--normalization", "filtre"), "did you mean 'filter'"),
        ((*SMALL, "--plane", "trajectory"), "--trajectory"),
        ((*SMALL, "--plane", "eigenn"), "did you mean 'eigen'"),
        ((*SMALL, "--plane", "a,b,c,d"), "two or three"),
        ((*SMALL, "--metrics", "losses"), "loss"),
        ((*SMALL, "--span", "-1"), "span"),
        ((*SMALL, "--span", "0"), "span must be positive and finite, got 0.0"),
        ((*SMALL, "--samples", "1000"), "samples must be at most the 142 of the data, got 1,000"),
        (("booth", "--samples", "10"), "samples is for a model on data"),
        ((*SMALL, "--plane", "gone.safetensors,gone.pt"), "gone.safetensors was not found"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[object, ...], told: str) -> None:
    assert told in thalweg("landscape", *arguments).line
