"""`thalweg optimizers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import JsonOption
from thalweg.cli.output import print_json
from thalweg.cli.start_up import optimizers_without_compiler

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.optim.genealogy import Genealogy

_SIDE = 64


def optimizers(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in detail.")] = None,
    json: JsonOption = False,
) -> None:
    """List the optimizers: equation, memory for its state, defaults, paper; of one, how it differs from its ancestors.

    The memory is measured: the bytes kept for each parameter of a float32 matrix after a step, the step count apart.

    Examples:

        thalweg optimizers

        thalweg optimizers adamw
    """
    from thalweg.optim.genealogy import genealogy

    graph = genealogy()
    if name is not None:
        _one(graph, name, json)
        return
    entries = _entries(graph)
    if json:
        print_json({"optimizers": entries})
        return
    console = _console()
    for family in dict.fromkeys(entry["family"] for entry in entries):
        _say(console, family.capitalize(), style="bold underline")
        for entry in entries:
            if entry["family"] == family:
                _list(console, entry)


def _one(graph: Genealogy, name: str, json: bool) -> None:
    from thalweg import optim
    from thalweg.errors import UnknownName

    known = {node.name for node in graph.nodes if node.in_thalweg}
    if name not in {*known, *optim.names()}:
        try:
            graph.node(name)
        except UnknownName:
            # One list of names for both kinds: the registry's message has the nearest of its own.
            optim.get(name)
        raise UnknownName(f"optimizer {name!r} is in the genealogy, but Thalweg does not have it yet")
    entry = _entry(graph, name)
    differences = (
        [graph.difference(edge.parent, name) for edge in graph.parents(name)] if name in known else []
    )
    children = graph.children(name) if name in known else ()
    if json:
        changes = [{"from": d.a.name, "changes": [str(change) for change in d.changes]} for d in differences]
        print_json(entry | {"differences": changes, "children": [edge.child for edge in children]})
        return
    console = _console()
    _list(console, entry)
    for difference in differences:
        _say(console, f"\n{difference.a.title} → {difference.b.title}", style="bold")
        for part, lines in difference.parts.items():
            _say(console, part, 4)
            for line in lines:
                _say(console, line, 8)
    if children:
        _say(console, "\nFrom it descend", style="bold")
        for edge in children:
            _say(console, f"{edge.child}: {edge.change}", 4)


def _list(console: Console, entry: dict[str, Any]) -> None:
    _say(console, f"{entry['name']}  {_memory(entry)}", style="bold")
    if entry["equation"]:
        _say(console, entry["equation"], 4)
    defaults = ", ".join(f"{key}={value!r}" for key, value in entry["defaults"].items())
    _say(console, defaults or "no hyperparameters", 4)
    if entry["source"]:
        _say(console, entry["source"], 4, style="dim")


def _memory(entry: dict[str, Any]) -> str:
    size, note = entry["state_bytes"], entry["state_note"]
    if size is None:
        told = "; ".join(filter(None, [", ".join(entry["state"]), note]))
        return f"state: {told or 'not measured, it takes more than parameters'}"
    told = "no state" if size == 0 else f"{size:.3g} bytes of state a parameter"
    return f"{told} ({note})" if note else told


def _entries(graph: Genealogy) -> list[dict[str, Any]]:
    """Those of the genealogy in its order, then the names that installed packages add."""
    from thalweg import optim

    known = [node.name for node in graph.nodes if node.in_thalweg]
    others = [name for name in optim.names() if name not in known]
    return [_entry(graph, name) for name in (*known, *others)]


def _entry(graph: Genealogy, name: str) -> dict[str, Any]:
    from dataclasses import replace

    from thalweg import optim
    from thalweg.optim.genealogy import hyperparameters
    from thalweg.optim.lineage import Node

    found = next((node for node in graph.nodes if node.name == name), None)
    node = found or replace(graph.nodes[0], name=name, in_thalweg=True)
    told: dict[str, Any] = {
        "name": name,
        "family": "others",
        "title": name,
        "equation": "",
        "latex": "",
        "source": "",
    }
    told["state"] = ()
    if isinstance(found, Node):
        told |= {key: vars(found)[key] for key in ("family", "title", "equation", "latex", "year", "state")}
        told |= {"source": found.source}
    return told | {
        "state_bytes": state_bytes(name) if name in optim.names() else None,
        "state_note": "" if found is None else found.state_note,
        "defaults": hyperparameters(node) or {},
    }


def state_bytes(name: str) -> float | None:
    """Bytes of state for each parameter of a float32 matrix after one step, without the count of steps.

    None for an optimizer that is not made from parameters alone, or that takes no step by their gradients alone.
    """
    import torch

    from thalweg import optim

    parameter = torch.nn.Parameter(torch.eye(_SIDE))
    parameter.grad = torch.ones_like(parameter)
    try:
        with optimizers_without_compiler():
            optimizer = optim.get(name)([parameter])
            optimizer.step()
    except (TypeError, ValueError, RuntimeError):
        return None
    held = [value for key, value in optimizer.state[parameter].items() if key != "step"]
    sizes = {id(value): value.nbytes for value in held if isinstance(value, torch.Tensor)}
    return sum(sizes.values()) / parameter.numel()


def _console() -> Console:
    import sys

    from rich.console import Console

    # In a pipe lines are not broken: what reads them does that better.
    return Console(soft_wrap=not sys.stdout.isatty())


def _say(console: Console, text: str, indent: int = 0, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    if console.soft_wrap:
        console.print(Text(" " * indent + text, style))
    else:
        console.print(Padding(Text(text, style), (0, 0, 0, indent)))
