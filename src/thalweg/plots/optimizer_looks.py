"""The colour and dashes of every optimizer, the same in all pictures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Sequence
from itertools import product
from typing import TypeAlias

from thalweg.plots.style import COLORS

Dashes: TypeAlias = str | tuple[float, tuple[float, ...]]
"""A line style as matplotlib takes it."""

Look: TypeAlias = tuple[str, Dashes]
"""The colour and dashes of a line."""

_DEEP = {
    "wine": "#882255",
    "indigo": "#332288",
    "olive": "#85852B",
    "brown": "#6B3E1D",
    "black": "#000000",
}
"""For more lines than there are colours that all people tell apart; the first three after Tol's muted scheme."""

_SOLID: Dashes = "-"
_DASHED: Dashes = (0, (5, 1.5))
_DOTTED: Dashes = (0, (1, 1))
_MIXED: Dashes = (0, (6, 1.5, 1, 1.5))
_DASHES: tuple[Dashes, ...] = (_SOLID, _DASHED, _DOTTED, _MIXED)

_INK = COLORS | _DEEP

_LOOKS: dict[str, Look] = {
    "gradient_descent": (_INK["blue"], _SOLID),
    "steepest_descent": (_INK["blue"], _DASHED),
    "sgd": (_INK["grey"], _SOLID),
    "switch": (_INK["grey"], _DASHED),
    "momentum": (_INK["vermilion"], _SOLID),
    "nesterov": (_INK["purple"], _SOLID),
    "adam": (_INK["green"], _SOLID),
    "adamw": (_INK["sky"], _SOLID),
    "lion": (_INK["orange"], _SOLID),
    "schedule_free_adamw": (_INK["wine"], _SOLID),
    "schedule_free_sgd": (_INK["wine"], _DASHED),
    "muon": (_INK["indigo"], _SOLID),
    "rmsprop": (_INK["olive"], _SOLID),
    "adagrad": (_INK["olive"], _DASHED),
    "sophia_g": (_INK["black"], _SOLID),
    "sophia_h": (_INK["black"], _DASHED),
    "sam": (_INK["brown"], _SOLID),
    "asam": (_INK["brown"], _DASHED),
    "gsam": (_INK["brown"], _DOTTED),
    "efficient_sam": (_INK["brown"], _MIXED),
}
"""What is often seen together differs in colour; relatives share one and differ in their dashes."""

_OTHERS: list[Look] = [
    look
    for dashes, color in product(_DASHES, COLORS.values())
    if (look := (color, dashes)) not in _LOOKS.values()
]


def optimizer_looks(labels: Sequence[str]) -> list[Look]:
    """Colour and dashes for each label of a picture: those of the optimizer that the label begins with.

    "adam", "Adam, η = 0.1" and "adam(eps=1e-3)" all look like Adam, in every picture. Of several labels of one
    optimizer the first has its look, and the next ones shades of its colour with dashes; where all labels are of one
    optimizer, colours tell its rates apart. A name that Thalweg does not know has a look that depends on its
    letters alone, unless something else in the picture has this colour.
    """
    names = [_name(label) for label in labels]
    found: dict[int, Look] = {}
    if len(labels) > 1 and len(set(names)) == 1:
        own = _LOOKS.get(names[0]) or _look_of_letters(names[0], [])
        solid: list[Look] = [(color, _SOLID) for color in COLORS.values() if color != own[0]]
        found = dict(enumerate([own, *solid][: len(labels)]))
    else:
        firsts = {name: names.index(name) for name in names}
        found = {place: _LOOKS[name] for name, place in firsts.items() if name in _LOOKS}
        for name, place in firsts.items():
            if name not in _LOOKS:
                found[place] = _look_of_letters(name, found.values())
    for place, name in enumerate(names):
        if place not in found:
            first = found[names.index(name)]
            shades = (_darker(first[0]), first[0], _darker(first[0]))
            choice: list[Look] = [*zip(shades, _DASHES[1:], strict=True), *_OTHERS]
            taken = set(found.values())
            found[place] = next((look for look in choice if look not in taken), first)
    return [found[place] for place in range(len(names))]


def _name(label: str) -> str:
    """The optimizer that a label begins with."""
    words = re.findall(r"\w+", re.split(r"[(,]", label.lower(), maxsplit=1)[0])
    for count in range(len(words), 0, -1):
        if "_".join(words[:count]) in _LOOKS:
            return "_".join(words[:count])
    return "_".join(words)


def _look_of_letters(name: str, taken: Collection[Look]) -> Look:
    """A look that is no known optimizer's, if possible of a colour that is none of the taken looks'."""
    first = zlib.crc32(name.encode()) % len(_OTHERS)
    choice = _OTHERS[first:] + _OTHERS[:first]
    colors = {color for color, _ in taken}
    free = [look for look in choice if look[0] not in colors] or [
        look for look in choice if look not in taken
    ]
    return (free or choice)[0]


def _darker(color: str) -> str:
    return "#" + "".join(f"{int(color[i : i + 2], 16) * 3 // 5:02x}" for i in (1, 3, 5))
