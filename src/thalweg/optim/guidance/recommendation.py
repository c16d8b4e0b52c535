"""A recommended optimizer with its reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from thalweg.optim.guidance.task import Task

About: TypeAlias = Literal["optimizer", "rate", "schedule", "batch", "weight decay", "clipping"]

_WIDTH = 100


@dataclass(frozen=True)
class Reason:
    """Why, about what, by which source; `evidence` holds the numbers measured in the run that it rests on."""

    about: About
    text: str
    source: str
    evidence: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Alternative:
    """Another optimizer, when to take it instead, and the code that makes it, or what there is meanwhile."""

    optimizer: str
    title: str
    when: str
    source: str
    call: str


@dataclass(frozen=True)
class Recommendation:
    """What to train with.

    Attributes
    ----------
    task, asked: the task as it was taken, and the words that it was given in. understood: what was made of them.
    optimizer: its name; title: as it is written. call: the code that makes it.
    available: whether Thalweg has it; if not, `meanwhile` is what to use until it does.
    lr: the rate; None where it is to be tuned or a line search finds it. backbone_lr: that of pretrained layers.
    schedule, batch: advice in words. weight_decay: None where it is to be tuned.
    clipping: the gradient's largest norm; None for no clipping.
    reasons: for all of these, each with its source. alternatives: what else to try, and when.
    """

    task: Task
    asked: str
    understood: tuple[str, ...]
    optimizer: str
    title: str
    call: str
    available: bool
    meanwhile: str
    lr: float | None
    backbone_lr: float | None
    schedule: str
    batch: str
    weight_decay: float | None
    clipping: float | None
    reasons: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...]
    validate: str = (
        "Compare it with an alternative on a held-out set before you rely on it "
        '[lecture, "Practical optimizer selection guide"].'
    )

    def why(self, about: About) -> tuple[Reason, ...]:
        """The reasons about one part of the advice."""
        return tuple(reason for reason in self.reasons if reason.about == about)

    def __str__(self) -> str:
        lines = [f"Task: {self.asked}"] if self.asked else []
        lines += _item("understood: ", "; ".join(self.understood)) if self.understood else []
        lines += _item(f"{self.title}: ", self.call)
        if not self.available:
            lines += _item("  not in Thalweg yet; meanwhile ", self.meanwhile)
        lines += self._because("optimizer")
        lines += _item("Learning rate: ", self._rate()) + self._because("rate")
        lines += _item("Schedule: ", self.schedule) + self._because("schedule")
        lines += _item("Batch: ", self.batch) + self._because("batch")
        decay = "to be tuned" if self.weight_decay is None else literal(self.weight_decay)
        lines += _item("Weight decay: ", decay) + self._because("weight decay")
        if self.clipping is not None:
            lines += _item("Clipping: ", f"tw.clipping.clip_by_norm(model.parameters(), {self.clipping:g})")
            lines += self._because("clipping")
        if self.alternatives:
            lines.append("Instead")
        for other in self.alternatives:
            lines += _item(f"  {other.title}: ", f"{other.when} [{other.source}]: {other.call}")
        return "\n".join([*lines, *_item("", self.validate)])

    def _rate(self) -> str:
        if self.lr is None:
            return "none to set" if self.schedule == "none" else "to be tuned"
        told = literal(self.lr)
        return (
            told if self.backbone_lr is None else f"{told}; {literal(self.backbone_lr)} for pretrained layers"
        )

    def _because(self, about: About) -> list[str]:
        return [
            line for reason in self.why(about) for line in _item("  · ", f"{reason.text} [{reason.source}]")
        ]


def literal(value: float) -> str:
    """A number as it is written in code, to three digits: 0.01, 1e-3."""
    if value == 0 or value >= 0.01:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _item(label: str, text: str) -> list[str]:
    indent = " " * (len(label) - len(label.lstrip()) + 4)
    return textwrap.wrap(
        label + text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
