"""A rule in the genealogy of optimizers, and a line of descent between two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Family: TypeAlias = Literal[
    "first-order", "adaptive", "sign", "schedule-free", "second-order", "matrix", "sharpness-aware"
]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class Node:
    """A rule.

    Attributes
    ----------
    name: as in `names()`. title: as it is written in a text. class_name: of its class in `thalweg.optim`.
    year: of the publication. authors, paper: who and where.
    latex, equation: the update in LaTeX and in plain Unicode. g is the gradient, η the rate, λ the weight decay;
        powers, products, roots and quotients of vectors are elementwise, capital letters are matrices unless the
        rule is AdaGrad or RMSProp.
    state: names of the tensors that it keeps for each parameter, of the parameter's shape, with its default
        hyperparameters. state_note: what else it keeps, or keeps with others.
    in_thalweg: whether this version of Thalweg has it.
    """

    name: str
    title: str
    class_name: str
    family: Family
    year: int
    authors: str
    paper: str
    latex: str
    equation: str
    state: tuple[str, ...] = ()
    state_note: str = ""
    in_thalweg: bool = False

    @property
    def source(self) -> str:
        """Authors, year and paper in one line."""
        return f"{self.authors} ({self.year}), {self.paper}"


@dataclass(frozen=True)
class Edge:
    """A line of descent: `child` is `parent` with `change`."""

    parent: str
    child: str
    change: str
