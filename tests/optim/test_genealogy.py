from __future__ import annotations

import inspect
import json
import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from torch import Tensor

from thalweg.errors import UnknownName
from thalweg.optim.driver.optimizer import RuleOptimizer
from thalweg.optim.genealogy import ROOT, genealogy
from thalweg.optim.lineage import EDGES, FAMILIES, NODES
from thalweg.optim.names import get, names

GRAPH = genealogy()
NAMES = [node.name for node in NODES]
PAIRS = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))

# Features O1 to O24 of the lecture, those with a rule of their own.
ASKED = {
    "sophia_h",
    "nesterov",
    "kfac",
    "adam",
    "efficient_sam",
    "newton",
    "adagrad",
    "lion",
    "asam",
    "gauss_newton",
    "levenberg_marquardt",
    "gsam",
    "ekfac",
    "schedule_free_sgd",
    "gradient_descent",
    "schedule_free_adamw",
    "lbfgs",
    "rmsprop",
    "switch",
    "natural_gradient",
    "shampoo",
    "sgd",
    "muon",
    "soap",
    "momentum",
    "adamw",
    "saddle_free_newton",
    "sam",
    "sophia_g",
    "steepest_descent",
}


def test_every_optimizer_is_in_it() -> None:
    assert set(names()) <= set(NAMES)
    assert set(NAMES) == ASKED
    assert len(NAMES) == len(set(NAMES))


def test_what_this_version_has_is_marked() -> None:
    marked = {node.name for node in GRAPH.nodes if node.in_thalweg}
    assert set(names()) <= marked
    assert not any(node.in_thalweg for node in NODES)


def test_edges_are_between_rules_and_not_repeated() -> None:
    assert {name for edge in EDGES for name in (edge.parent, edge.child)} == set(NAMES)
    assert len({(edge.parent, edge.child) for edge in EDGES}) == len(EDGES)
    assert all(edge.change for edge in EDGES)


def test_all_descend_from_gradient_descent_without_cycles() -> None:
    # Kahn's sort: rules leave the graph once their parents have; a cycle would stay behind.
    left, out = set(NAMES), set[str]()
    while free := {n for n in left if all(e.parent in out for e in EDGES if e.child == n)}:
        left -= free
        out |= free
    assert not left
    reached, front = {ROOT}, [ROOT]
    while front:
        front = [e.child for name in front for e in EDGES if e.parent == name and e.child not in reached]
        reached |= set(front)
    assert reached == set(NAMES)


def test_parents_are_not_younger_but_for_newton() -> None:
    year = {node.name: node.year for node in NODES}
    young = {(e.parent, e.child) for e in EDGES if year[e.parent] > year[e.child]}
    # Newton's method (1740) is older than Cauchy's (1847); Sophia-G and H are of one paper.
    assert young == {(ROOT, "newton")}


@pytest.mark.parametrize(
    "line",
    [
        # The lecture's order of sections, and "who descends from whom".
        ["gradient_descent", "momentum", "nesterov"],
        ["adagrad", "rmsprop", "adam", "adamw", "lion"],
        ["adam", "adamw", "sophia_g"],
        ["adam", "adamw", "schedule_free_adamw"],
        ["momentum", "adam"],
        ["newton", "gauss_newton", "levenberg_marquardt"],
        ["sam", "asam"],
    ],
)
def test_lines_of_the_lecture(line: list[str]) -> None:
    for parent, child in pairwise(line):
        assert parent in [edge.parent for edge in GRAPH.parents(child)]
        assert NAMES.index(parent) < NAMES.index(child)


def test_generation_is_the_longest_way() -> None:
    assert GRAPH.generation("gradient_descent") == 0
    # Over SGD, AdaGrad and RMSProp, not over momentum.
    assert GRAPH.generation("adam") == 4
    assert all(GRAPH.generation(e.child) > GRAPH.generation(e.parent) for e in EDGES)


@pytest.mark.parametrize("name", names())
def test_state_is_what_the_class_keeps(name: str) -> None:
    optimizer_class = get(name)
    wanted = inspect.signature(optimizer_class).parameters
    if not issubclass(optimizer_class, RuleOptimizer) or "objective" in wanted:
        pytest.skip(f"{name} is not made from parameters alone")
    p = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    optimizer = optimizer_class([p])  # pyright: ignore[reportCallIssue]
    p.grad = torch.tensor([[0.1, 0.2], [-0.3, 0.4]])
    optimizer.step()
    kept = {
        key
        for key, value in optimizer.state[p].items()
        if isinstance(value, Tensor) and value.shape == p.shape
    }
    assert kept == set(GRAPH.node(name).state)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_a_rule_is_described(node: object) -> None:
    found = GRAPH.node(node.name)  # pyright: ignore[reportAttributeAccessIssue]
    assert found.family in FAMILIES
    assert 1700 < found.year < 2027
    assert found.source == f"{found.authors} ({found.year}), {found.paper}"
    assert "\\" in found.latex
    assert "\\" not in found.equation
    assert "$" not in found.latex + found.equation
    # matplotlib's parser is stricter than LaTeX's.
    MathTextParser("path").parse(f"${found.latex}$")


def test_adam_to_adamw() -> None:
    found = GRAPH.difference("adam", "adamw")
    assert [str(c) for c in found.changes] == ["adam → adamw: weight decay outside the adaptive step"]
    assert found.common == "adam"
    assert (found.state_removed, found.state_added) == ((), ())
    assert found.hyperparameters is not None
    assert found.hyperparameters.changed == {"weight_decay": (0.0, 0.01)}
    assert not found.hyperparameters.added
    assert not found.hyperparameters.removed
    assert "weight_decay: 0.0 → 0.01" in str(found)


def test_a_difference_reads_in_parts() -> None:
    found = GRAPH.difference("sgd", "muon")
    lines = str(found).splitlines()
    assert lines[0] == "SGD → Muon"
    assert [line.strip() for line in lines if re.match(r"  \w", line)] == list(found.parts)
    assert max(map(len, lines)) <= 100
    told = found.parts["hyperparameters"]
    # One line for each that changes, one for each rule's own; long values by their number.
    defaults = [inspect.signature(get(name)).parameters for name in ("sgd", "muon")]
    shared = {
        n for n in defaults[0].keys() & defaults[1].keys() if defaults[0][n].default != defaults[1][n].default
    }
    assert {line.split(":")[0] for line in told} == {*shared, "only SGD", "only Muon"}
    assert f"adamw_names=({len(defaults[1]['adamw_names'].default)} values)" in told[-1]
    assert "adamw_betas=(0.9, 0.999)" in told[-1]
    assert str(found.hyperparameters).endswith(told[-1].replace("only Muon", "only the second"))


def test_up_and_down() -> None:
    found = GRAPH.difference("lion", "nesterov")
    assert [(c.child if c.undone else c.parent, c.undone) for c in found.changes] == [
        ("lion", True),
        ("adamw", True),
        ("adam", True),
        ("momentum", False),
    ]
    assert found.common == "momentum"
    assert (found.state_removed, found.state_added) == (("exp_avg",), ("velocity",))
    assert found.hyperparameters is not None
    assert found.hyperparameters.removed == {"betas": (0.9, 0.99)}
    assert found.hyperparameters.added == {"momentum": 0.9}
    assert found.hyperparameters.changed == {"lr": (1e-4, 1e-3)}
    assert "nesterov: gradient at the look-ahead point" in str(found)
    assert "undo “weight decay outside the adaptive step”" in str(found)


def test_rules_to_come_have_no_hyperparameters_yet() -> None:
    missing = [node for node in GRAPH.nodes if not node.in_thalweg]
    for node in missing:
        found = GRAPH.difference("adam", node.name)
        assert found.hyperparameters is None
        assert f"Thalweg does not have {node.title} yet" in str(found)


@settings(deadline=None)
@given(PAIRS)
def test_a_way_between_any_two(pair: tuple[str, str]) -> None:
    a, b = pair
    found = GRAPH.difference(a, b)
    here, turned, listed = a, False, {(e.parent, e.child): e.change for e in EDGES}
    for change in found.changes:
        start, end = (change.child, change.parent) if change.undone else (change.parent, change.child)
        assert start == here
        assert listed[change.parent, change.child] == change.change
        assert not (turned and change.undone)
        turned, here = not change.undone, end
    assert here == b
    assert (
        sum(c.undone for c in found.changes) == 0
        or found.common == [c for c in found.changes if c.undone][-1].parent
    )
    back = GRAPH.difference(b, a)
    assert (back.state_removed, back.state_added) == (found.state_added, found.state_removed)
    assert [(c.parent, c.child, not c.undone) for c in reversed(back.changes)] == [
        (c.parent, c.child, c.undone) for c in found.changes
    ]
    assert back.common == found.common
    str(found)


@settings(deadline=None)
@given(PAIRS, st.sampled_from(NAMES))
def test_no_way_over_an_ancestor_is_shorter(pair: tuple[str, str], over: str) -> None:
    def up(name: str) -> int | None:
        """Edges up to `over`, by depth-first search."""
        if name == over:
            return 0
        known = [n for e in EDGES if e.child == name and (n := up(e.parent)) is not None]
        return min(known) + 1 if known else None

    a, b = up(pair[0]), up(pair[1])
    if a is not None and b is not None:
        assert len(GRAPH.difference(*pair).changes) <= a + b


def test_nothing_changes_from_a_rule_to_itself() -> None:
    found = GRAPH.difference("sgd", "sgd")
    assert found.changes == ()
    assert "the same tensors" in str(found)
    assert "the same, with the same defaults" in str(found)


def test_state_notes_are_told() -> None:
    assert "SGD: momentum_buffer where momentum is not 0" in str(GRAPH.difference("sgd", "adam"))


def test_plain_data() -> None:
    data = GRAPH.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert [node["name"] for node in data["nodes"]] == NAMES
    assert len(data["edges"]) == len(EDGES)
    adam = next(node for node in data["nodes"] if node["name"] == "adam")
    signature = inspect.signature(get("adam")).parameters
    assert adam["hyperparameters"]["betas"] == list(signature["betas"].default)
    assert "params" not in adam["hyperparameters"]
    assert adam["generation"] == 4
    assert adam["state"] == ["exp_avg", "exp_avg_sq"]
    for node in data["nodes"]:
        assert (node["hyperparameters"] is not None) == node["in_thalweg"]


def test_the_tree_is_printed() -> None:
    lines = str(GRAPH).splitlines()
    assert len(lines) == len(NODES)
    assert lines[0] == "gradient_descent (1847)"
    assert "  momentum (1964): + velocity" in lines
    assert sum("not in Thalweg yet" in line for line in lines) == sum(not n.in_thalweg for n in GRAPH.nodes)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="no optimizer 'adamq' in the genealogy: did you mean adam"):
        GRAPH.difference("adamq", "adam")
    for ask in (GRAPH.parents, GRAPH.children, GRAPH.generation):
        with pytest.raises(UnknownName, match="did you mean lion"):
            ask("lyon")
