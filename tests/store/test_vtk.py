"""VTK files read back by the rules of the format."""

from __future__ import annotations

from urllib.parse import unquote

import numpy as np
import pytest
import xarray as xr

from thalweg.store.vtk import write_vtk


def read(path) -> tuple[list[np.ndarray], dict[str, np.ndarray], dict[str, list[object]]]:
    """Coordinates, point data and field data of a legacy rectilinear grid, as VTK's reader takes it."""
    words = path.read_text().split("\n", 2)
    assert words[0] == "# vtk DataFile Version 3.0"
    tokens = iter(words[2].split())
    assert [next(tokens) for _ in range(3)] == ["ASCII", "DATASET", "RECTILINEAR_GRID"]
    keyword = next(tokens)
    held = {}
    if keyword == "FIELD":
        assert next(tokens) == "FieldData"
        for _ in range(int(next(tokens))):
            name, _, count, kind = (next(tokens) for _ in range(4))
            entries = [next(tokens) for _ in range(int(count))]
            held[name] = [unquote(entry) if kind == "string" else float(entry) for entry in entries]
        keyword = next(tokens)
    assert keyword == "DIMENSIONS"
    shape = [int(next(tokens)) for _ in range(3)]
    axes = []
    for letter, count in zip("XYZ", shape, strict=True):
        assert [next(tokens), int(next(tokens)), next(tokens)] == [f"{letter}_COORDINATES", count, "double"]
        axes.append(np.array([float(next(tokens)) for _ in range(count)]))
    assert [next(tokens), int(next(tokens))] == ["POINT_DATA", int(np.prod(shape))]
    fields = {}
    for token in tokens:
        assert token == "SCALARS"
        name = next(tokens)
        assert [next(tokens) for _ in range(4)] == ["double", "1", "LOOKUP_TABLE", "default"]
        flat = np.array([float(next(tokens)) for _ in range(int(np.prod(shape)))])
        fields[name] = flat.reshape(shape[::-1]).T
    return axes, fields, held


def test_a_plane(tmp_path) -> None:
    x, y = np.linspace(-1, 1, 4), np.array([0.0, 0.1, 0.7])
    loss = np.add.outer(x**2, 3 * y) / 7
    loss[1, 2] = np.inf
    found = xr.Dataset(
        {"loss": (("alpha", "beta"), loss), "share right": (("alpha", "beta"), -loss)},
        {"alpha": x, "beta": y},
    )
    write_vtk(tmp_path / "a.vtk", found)
    places, fields, held = read(tmp_path / "a.vtk")
    assert np.array_equal(places[0], x)
    assert np.array_equal(places[1], y)
    assert places[2].tolist() == [0]
    expected = np.where(np.isfinite(loss), loss, np.nan)
    assert np.array_equal(fields["loss"][:, :, 0], expected, equal_nan=True)
    assert list(fields) == ["loss", "share_right"]
    assert held == {}


def test_what_it_is(tmp_path) -> None:
    told = {
        "error": 0.01,
        "seed": 7,
        "adaptive": True,
        "labels": ['α, 5 % "of" it', "β"],
        "curvature": [1.5, float("inf")],
        "none": [],
    }
    found = xr.Dataset({"loss": ("alpha", [3.0, 1.0])}, {"alpha": [0.0, 0.5]}, attrs=told)
    write_vtk(tmp_path / "a.vtk", found)
    _, fields, held = read(tmp_path / "a.vtk")
    assert fields["loss"].ravel().tolist() == [3, 1]
    # Infinities are written as what they are to a picture.
    assert held.pop("curvature") == pytest.approx([1.5, float("nan")], nan_ok=True)
    assert held == {"error": [0.01], "seed": [7], "adaptive": ["True"], "labels": told["labels"]}


def test_a_line(tmp_path) -> None:
    found = xr.Dataset({"loss": ("alpha", [3.0, 1.0, 2.0])}, {"alpha": [0.0, 0.5, 1.0]})
    write_vtk(tmp_path / "a.vtk", found)
    axes, fields, _ = read(tmp_path / "a.vtk")
    assert [axis.size for axis in axes] == [3, 1, 1]
    assert fields["loss"].ravel().tolist() == [3, 1, 2]
