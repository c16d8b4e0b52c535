"""A measured budget."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured, in units that `what` names, against the `budget` it must not exceed."""

    id: str
    what: str
    measured: float
    budget: float | None

    def __str__(self) -> str:
        verdict = "" if self.budget is None else "met" if self.measured <= self.budget else "**missed**"
        budget = "" if self.budget is None else f"{self.budget:g}"
        return f"| {self.id} | {self.what} | {self.measured:.3g} | {budget} | {verdict} |"
