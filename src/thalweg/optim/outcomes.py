"""How descents end: converged to which point, cycling with what period, diverged at which step, or wandering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Kind: TypeAlias = Literal["converged", "cycling", "diverged", "wandering"]
KINDS: tuple[Kind, ...] = ("converged", "cycling", "diverged", "wandering")


@dataclass(frozen=True)
class Target:
    """A point that descents converge to.

    `location` are its coordinates; `kind` is "minimum", "saddle", "maximum" or "degenerate" where the surface says
    so, else "unlisted": a point where descents came to rest that no list of critical points has.
    """

    location: tuple[float, ...]
    loss: float
    kind: str

    def __str__(self) -> str:
        coordinates = ", ".join(f"{x:.4g}" for x in self.location[:4])
        more = ", …" if len(self.location) > 4 else ""
        return f"{self.kind} ({coordinates}{more})"


@dataclass(frozen=True)
class Outcome:
    """How one descent ended.

    kind: "converged" (it lies at a minimum within the tolerance after the last step, even if it should leave again, or
        it rests elsewhere), "cycling", "diverged", or "wandering" for none of them: on its way, or without order.
    target: where it converged to; `minimum` is that point's index among the surface's minima if it is one.
    period: steps after which a cycle repeats. step: the first step at which a diverged one had left for good.
    """

    kind: Kind
    target: Target | None = None
    minimum: int | None = None
    period: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        match self.kind:
            case "converged":
                return f"converged to {self.target or 'a point'}"
            case "cycling":
                return f"cycling with period {self.period}"
            case "diverged":
                return f"diverged at step {self.step}"
            case _:
                return "wandering"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """How each of many descents ended, in arrays of one shape; indexing with as many integers gives an `Outcome`.

    kind: index into `KINDS`. target: index into `targets`, -1 where there is none. period, step: 0 where there is
    none. The first entries of `targets` are the surface's critical points in their order, minima first.
    """

    kind: NDArray[np.int8]
    target: NDArray[np.int32]
    period: NDArray[np.int32]
    step: NDArray[np.int64]
    targets: tuple[Target, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The arrays' shape: (b,), or (r, b) for a list of rates."""
        return self.kind.shape

    def __len__(self) -> int:
        return len(self.kind)

    @overload
    def __getitem__(self, place: int) -> Outcome | Outcomes: ...
    @overload
    def __getitem__(self, place: tuple[int, ...]) -> Outcome: ...
    def __getitem__(self, place: int | tuple[int, ...]) -> Outcome | Outcomes:
        if np.ndim(self.kind[place]):
            return Outcomes(
                self.kind[place], self.target[place], self.period[place], self.step[place], self.targets
            )
        index = int(self.target[place])
        target = self.targets[index] if index >= 0 else None
        return Outcome(
            KINDS[int(self.kind[place])],
            target,
            index if target is not None and target.kind == "minimum" else None,
            int(self.period[place]) or None,
            int(self.step[place]) or None,
        )

    def __iter__(self) -> Iterator[Outcome | Outcomes]:
        return (self[place] for place in range(len(self)))

    def counts(self) -> dict[str, int]:
        """How many descents ended in each way, most frequent first, with a line for each target."""
        flat = zip(self.kind.ravel().tolist(), self.target.ravel().tolist(), strict=True)
        named = Counter(
            f"converged to {self.targets[target]}" if target >= 0 else KINDS[kind] for kind, target in flat
        )
        return dict(named.most_common())

    def __str__(self) -> str:
        return "; ".join(f"{count} {name}" for name, count in self.counts().items())
