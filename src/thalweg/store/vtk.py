"""Grids as legacy VTK files, which ParaView and its kin open as surfaces to be warped by any metric."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


def write_vtk(path: Path, found: xarray.Dataset) -> None:
    """Write a dataset over one or two axes as a rectilinear grid with a field of point data for each variable.

    Its attributes go into the field data of the whole: numbers, and texts with "%" and what is not plain ASCII encoded
    as in addresses, as VTK's own writer does. Values that are not finite are written as nan.
    Source: The VTK User's Guide, "VTK File Formats", simple legacy.
    """
    axes = [np.asarray(found[name], dtype=np.float64) for name in found.sizes]
    axes += [np.zeros(1)] * (3 - len(axes))
    lines = [
        "# vtk DataFile Version 3.0",
        "Thalweg: " + ", ".join(str(name) for name in found.data_vars),
        "ASCII",
        "DATASET RECTILINEAR_GRID",
        *_fields(found.attrs),
        "DIMENSIONS " + " ".join(str(axis.size) for axis in axes),
    ]
    for letter, axis in zip("XYZ", axes, strict=True):
        lines += [f"{letter}_COORDINATES {axis.size} double", _numbers(axis)]
    lines.append(f"POINT_DATA {np.prod([axis.size for axis in axes])}")
    for name, variable in found.data_vars.items():
        # VTK's first axis varies fastest.
        values = np.asarray(variable, dtype=np.float64).ravel(order="F")
        lines += [f"SCALARS {str(name).replace(' ', '_')} double 1", "LOOKUP_TABLE default", _numbers(values)]
    path.write_text("\n".join(lines) + "\n", encoding="ascii", errors="replace")


def _fields(attributes: Mapping[Any, Any]) -> list[str]:
    """Attributes as field data, each an array of numbers or of texts."""
    arrays: list[list[str]] = []
    for name, value in attributes.items():
        values = np.atleast_1d(np.asarray(value)).ravel()
        numbers = np.issubdtype(values.dtype, np.number)
        head = f"{_encoded(str(name))} 1 {values.size} {'double' if numbers else 'string'}"
        if values.size:
            arrays.append([head, *([_numbers(values)] if numbers else [_encoded(str(v)) for v in values])])
    return [f"FIELD FieldData {len(arrays)}", *(line for array in arrays for line in array)] if arrays else []


def _encoded(text: str) -> str:
    return "".join(
        chr(byte) if 33 <= byte <= 126 and chr(byte) not in '%"' else f"%{byte:02X}" for byte in text.encode()
    )


def _numbers(values: np.ndarray) -> str:
    return "\n".join(repr(float(value)) if np.isfinite(value) else "nan" for value in values)
