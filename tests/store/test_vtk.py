"""VTK files read back by the rules of the format."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.store.vtk import write_vtk


def read(path) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Coordinates and point data of a legacy rectilinear grid, as VTK's reader takes it: keywords, then numbers."""
    words = path.read_text().split("\n", 2)
    assert words[0] == "# vtk DataFile Version 3.0"
    tokens = iter(words[2].split())
    assert [next(tokens) for _ in range(3)] == ["ASCII", "DATASET", "RECTILINEAR_GRID"]
    assert next(tokens) == "DIMENSIONS"
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
    return axes, fields


def test_a_plane(tmp_path) -> None:
    x, y = np.linspace(-1, 1, 4), np.array([0.0, 0.1, 0.7])
    loss = np.add.outer(x**2, 3 * y) / 7
    loss[1, 2] = np.inf
    found = xr.Dataset(
        {"loss": (("alpha", "beta"), loss), "share right": (("alpha", "beta"), -loss)},
        {"alpha": x, "beta": y},
    )
    write_vtk(tmp_path / "a.vtk", found)
    places, fields = read(tmp_path / "a.vtk")
    assert np.array_equal(places[0], x)
    assert np.array_equal(places[1], y)
    assert places[2].tolist() == [0]
    expected = np.where(np.isfinite(loss), loss, np.nan)
    assert np.array_equal(fields["loss"][:, :, 0], expected, equal_nan=True)
    assert list(fields) == ["loss", "share_right"]


def test_a_line(tmp_path) -> None:
    found = xr.Dataset({"loss": ("alpha", [3.0, 1.0, 2.0])}, {"alpha": [0.0, 0.5, 1.0]})
    write_vtk(tmp_path / "a.vtk", found)
    axes, fields = read(tmp_path / "a.vtk")
    assert [axis.size for axis in axes] == [3, 1, 1]
    assert fields["loss"].ravel().tolist() == [3, 1, 2]
