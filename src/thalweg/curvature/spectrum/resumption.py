"""A search for eigenpairs on disk, so that an interrupt costs nothing that was computed."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.extraction import Which
from thalweg.curvature.spectrum.search import Search
from thalweg.errors import InvalidArgument, MissingData
from thalweg.store.atomic import replacing

_EVERY = 60.0
"""Seconds after which the state is written even when there was no restart."""


class Checkpoint:
    """The file that a search is written to after each restart, once a minute and when it is interrupted."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise MissingData(f"checkpoint {self.path}: there is no folder {self.path.parent}")
        if self.path.is_dir():
            raise InvalidArgument(f"checkpoint {self.path} is a folder: give a file")
        self._due = time.monotonic() + _EVERY

    def write(self, search: Search, seed: int) -> None:
        """Write the state unless columns are being overwritten; the former file stays until the new one is whole."""
        state = search.state
        if not state.whole:
            return
        begun = time.monotonic()
        leading, rest = state.basis.panels(state.size + state.waiting)
        # Contiguous as they lie in memory: nothing is copied.
        tensors = {
            "leading": leading.T,
            "rest": rest.T,
            "projected": state.projected,
            "coupling": state.coupling,
            "witnesses": state.witnesses.contiguous(),
            "generator": state.draw.get_state(),
        }
        if search.known is not None:
            tensors["known"] = search.known.contiguous()
        facts = _settings(state.operator, search.k, search.which, seed) | {
            "norm": search.norm,
            "scale": state.scale,
            "spent": search.spent,
            "cleared": search.cleared,
            "accuracy": state.operator.product_error,
        }
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"eigenpairs": json.dumps(facts)})
        # Writing must not take more than a small part of the time.
        ended = time.monotonic()
        self._due = ended + max(_EVERY, 20 * (ended - begun))

    def write_when_due(self, search: Search, seed: int) -> None:
        """Write the state if the last writing is long ago."""
        if time.monotonic() >= self._due:
            self.write(search, seed)

    def read(self, search: Search, seed: int) -> bool:
        """Put the state written into `search`, which is a new one; whether there is any.

        Raises InvalidArgument when the file is damaged or of another search, or when a product shows that it belongs
        to another matrix.
        """
        if not self.path.exists():
            return False
        state = search.state
        try:
            with safe_open(self.path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["eigenpairs"])
                self._require(facts, _settings(state.operator, search.k, search.which, seed))
                self._fill(search, file, facts)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(
                f"checkpoint {self.path} is no readable state of eigenpairs ({error}): delete it"
            ) from error
        search.make_room()
        self._require_the_same_matrix(search, facts["accuracy"])
        return True

    def remove(self) -> None:
        """Delete the file: the search is over."""
        self.path.unlink(missing_ok=True)

    def _fill(self, search: Search, file: Any, facts: dict[str, Any]) -> None:
        state = search.state
        split = file.get_slice("leading").get_shape()[0]
        count = split + file.get_slice("rest").get_shape()[0]
        # Row by row, mapped and not read as a whole: no second copy is held.
        for index in range(count):
            name, row = ("leading", index) if index < split else ("rest", index - split)
            state.basis.set(index, torch.from_numpy(file.get_slice(name)[row]))
        names = set(file.keys()) - {"leading", "rest"}
        small = {name: torch.from_numpy(file.get_tensor(name)) for name in names}
        state.projected, state.coupling = small["projected"], small["coupling"]
        state.witnesses, state.scale = small["witnesses"], facts["scale"]
        state.draw.set_state(small["generator"])
        search.norm, search.spent, search.cleared = facts["norm"], facts["spent"], facts["cleared"]
        search.known = small.get("known")

    def _require(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        for name, value in wanted.items():
            if found.get(name) != value:
                raise InvalidArgument(
                    f"checkpoint {self.path} is of another search: its {name} is {found.get(name)!r}, "
                    f"here it is {value!r}; give another file or delete it"
                )

    def _require_the_same_matrix(self, search: Search, accuracy: float) -> None:
        state = search.state
        weights = torch.randn(state.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        search.spent += 1
        difference = state.discrepancy(weights / weights.norm())
        room = max(torch.finfo(state.operator.dtype).eps ** 0.5, 10 * accuracy)
        if not difference <= room * state.scale:
            raise InvalidArgument(
                f"checkpoint {self.path} belongs to another matrix: a product with the {state.operator.name} differs "
                f"by {difference / (state.scale or math.inf):.1e} of its scale; give another file or delete it"
            )


def _settings(operator: SymmetricOperator, k: int, which: Which, seed: int) -> dict[str, Any]:
    return {
        "operator": operator.name,
        "size": operator.shape[0],
        "dtype": str(operator.dtype),
        "k": k,
        "which": which,
        "seed": seed,
    }
