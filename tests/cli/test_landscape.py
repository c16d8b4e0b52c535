"""`thalweg landscape` as a person and as a program reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cli.conftest import Command
from thalweg import surfaces

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


def test_through_checkpoints(thalweg: Command) -> None:
    for seed, name in enumerate("ab"):
        assert thalweg("train", *SMALL, "--epochs", 2, "--seed", seed, "--out", name).status == 0
    line = thalweg("landscape", *SMALL, "--plane", "a,b", "--resolution", 7, "--json").json
    assert line["kind"] == "through points"
    assert list(line["axes"]) == ["alpha"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*SMALL, "--plane", "trajectory"), "--trajectory"),
        ((*SMALL, "--plane", "eigenn"), "did you mean 'eigen'"),
        ((*SMALL, "--plane", "a,b,c,d"), "two or three"),
        ((*SMALL, "--metrics", "losses"), "loss"),
        ((*SMALL, "--span", "-1"), "span"),
    ],
)
def test_bad_input_is_one_line(thalweg: Command, arguments: tuple[object, ...], told: str) -> None:
    assert told in thalweg("landscape", *arguments).line
