"""One measured number of an experiment, against what is claimed of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was measured; the claim says that it is at least `least` and at most `most`, where they are given."""

    id: str
    what: str
    measured: float
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the claim holds of it; None where nothing is claimed."""
        if self.least is None and self.most is None:
            return None
        above = self.least is None or self.measured >= self.least
        return above and (self.most is None or self.measured <= self.most)

    def __str__(self) -> str:
        bounds = [f"≥ {self.least:.3g}"] if self.least is not None else []
        bounds += [f"≤ {self.most:.3g}"] if self.most is not None else []
        verdict = {None: "", True: "holds", False: "**does not hold**"}[self.holds]
        return f"| {self.id} | {self.what} | {self.measured:.3g} | {' and '.join(bounds)} | {verdict} |"
