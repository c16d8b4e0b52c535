from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Bbox

from thalweg.errors import InvalidArgument
from thalweg.optim.genealogy import Genealogy
from thalweg.optim.genealogy import genealogy as known
from thalweg.plots import genealogy
from thalweg.plots.genealogy import FAMILY_COLORS, SIZE

GRAPH = known()


def extents(ax: Axes) -> tuple[dict[str, Bbox], list[tuple[str, Bbox]]]:
    """Boxes by rule, and the extent of each line of text with the rule it is in, or "change"."""
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    boxes = {p.get_gid(): p.get_window_extent(renderer) for p in ax.patches if isinstance(p, FancyBboxPatch)}
    return boxes, [(t.get_gid(), t.get_window_extent(renderer)) for t in ax.texts]


def drawn(size: tuple[float, float] | None) -> Axes:
    # Tiny letters on few pixels are wider than they are on paper.
    return genealogy() if size is None else genealogy(ax=Figure(figsize=size, dpi=600).add_subplot())


# The default, a page, and a small Axes in a figure, where texts are small too.
@pytest.mark.parametrize("size", [None, (11.7, 8.3), (6.4, 4.8)])
def test_nothing_overlaps(size: tuple[float, float] | None) -> None:
    ax = drawn(size)
    boxes, texts = extents(ax)
    assert set(boxes) == {node.name for node in GRAPH.nodes}
    for a, b in combinations(boxes.values(), 2):
        assert not a.overlaps(b)
    # Hinting may move an edge of a letter by a pixel.
    shrunk = [(gid, Bbox.from_extents(t.x0 + 1, t.y0 + 1, t.x1 - 1, t.y1 - 1)) for gid, t in texts]
    for (_, a), (_, b) in combinations(shrunk, 2):
        assert not a.overlaps(b)
    legend = ax.get_legend().get_window_extent(FigureCanvasAgg(ax.figure).get_renderer())
    for gid, text in shrunk:
        assert not text.overlaps(legend)
        for name, box in boxes.items():
            if name == gid:
                assert box.x0 <= text.x0
                assert text.x1 <= box.x1
                assert box.y0 <= text.y0
                assert text.y1 <= box.y1
            else:
                assert not text.overlaps(box), (gid, name)
    frame = ax.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in [*boxes.values(), *(t for _, t in shrunk)])
    assert all(frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in [*boxes.values(), *(t for _, t in shrunk)])


def test_lines_run_neither_through_texts_nor_through_rules() -> None:
    ax = genealogy()
    boxes, texts = extents(ax)
    lines = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(lines) == len(GRAPH.edges)
    for line in lines:
        vertices = ax.transData.transform(line._path_original.vertices)  # type: ignore[attr-defined]
        points = np.concatenate([np.linspace(a, b, 400) for a, b in pairwise(vertices)])
        for name, box in [(n, b) for n, b in boxes.items()] + texts:
            # A line may touch the rules at its ends.
            inside = Bbox.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1)
            assert not inside.count_contains(points), name


def nearest(boxes: dict[str, Bbox], point: np.ndarray) -> str:
    def distance(name: str) -> float:
        box = boxes[name]
        return float(np.hypot(*(point - np.clip(point, (box.xmin, box.ymin), (box.xmax, box.ymax)))))

    name = min(boxes, key=distance)
    assert distance(name) < 0.05
    return name


def test_lines_go_right_from_parent_to_child() -> None:
    ax = genealogy()
    boxes, _ = extents(ax)
    by_box = {name: ax.transData.inverted().transform_bbox(box) for name, box in boxes.items()}
    found = set()
    for line in (p for p in ax.patches if isinstance(p, FancyArrowPatch)):
        # The ends are on the edges of the boxes.
        found.add(tuple(nearest(by_box, end) for end in line._path_original.vertices[[0, -1]]))  # type: ignore[attr-defined]
    assert found == {(edge.parent, edge.child) for edge in GRAPH.edges}
    for parent, child in found:
        assert by_box[parent].xmin <= by_box[child].xmin


def test_colors_hollow_rules_and_legend() -> None:
    ax = genealogy()
    boxes = {p.get_gid(): p for p in ax.patches if isinstance(p, FancyBboxPatch)}
    for node in GRAPH.nodes:
        assert to_hex(boxes[node.name].get_edgecolor()) == FAMILY_COLORS[node.family].lower()
        assert (to_hex(boxes[node.name].get_facecolor()) != "#ffffff") == node.in_thalweg
    assert len(set(FAMILY_COLORS.values())) == len(FAMILY_COLORS)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[: len(FAMILY_COLORS)] == list(FAMILY_COLORS)
    assert "also descends from" in labels
    told = " ".join(t.get_text() for t in ax.texts)
    assert "Kingma & Ba 2015" in told
    assert "Gupta et al. 2018" in told


def test_all_changes_are_written_in_full() -> None:
    # Lines of one change are written from the last to the first.
    lines = [t.get_text() for t in genealogy().texts if t.get_gid() == "change"]
    told = sorted("".join(lines).replace(" ", ""))
    assert told == sorted("".join(edge.change for edge in GRAPH.edges).replace(" ", ""))


def test_no_rule_is_hollow_when_all_are_there() -> None:
    graph = Genealogy(tuple(replace(node, in_thalweg=True) for node in GRAPH.nodes), GRAPH.edges)
    labels = [text.get_text() for text in genealogy(graph).get_legend().get_texts()]
    assert "not in Thalweg yet" not in labels


def test_the_axes_is_given_back_and_pyplot_left_alone() -> None:
    ax = Figure().add_subplot()
    assert genealogy(ax=ax) is ax
    assert tuple(genealogy().figure.get_size_inches()) == SIZE
    assert "matplotlib.pyplot" not in vars(matplotlib) or not matplotlib.pyplot.get_fignums()


def test_a_rule_without_a_place() -> None:
    graph = Genealogy((replace(GRAPH.nodes[0], name="warp"),), ())
    with pytest.raises(InvalidArgument, match="graph must hold known optimizers only, got warp"):
        genealogy(graph)
