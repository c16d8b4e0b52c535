"""Which optimizer, rate and schedule for a task, with the reasons: the lecture's selection guide."""

from __future__ import annotations

import os
from dataclasses import replace

from thalweg.errors import InvalidArgument
from thalweg.numbers import number
from thalweg.optim.genealogy import Genealogy, genealogy, hyperparameters
from thalweg.optim.guidance.calls import call, meanwhile
from thalweg.optim.guidance.choice import Choice, choose
from thalweg.optim.guidance.evidence import Evidence, evidence
from thalweg.optim.guidance.findings import findings, remedies
from thalweg.optim.guidance.practice import batch, clipping, schedule, weight_decay
from thalweg.optim.guidance.rate import rate
from thalweg.optim.guidance.recommendation import Alternative, Reason, Recommendation
from thalweg.optim.guidance.task import Task
from thalweg.optim.guidance.wording import understand
from thalweg.store import Run


def guide(task: str | Task = "", run: str | os.PathLike[str] | Run | None = None) -> Recommendation:
    """Recommend an optimizer, its rate, schedule, batch and weight decay for `task`; print it, or read its parts.

    Numbers are the lecture's, those of the rule's paper or class, or measured; where there is none the advice is to
    tune. A string is read by its keywords and counts, such as "fine-tune a vision transformer, 86M parameters,
    little memory"; `understood` tells what was taken from it. What is not understood gets the default, AdamW.

    Parameters
    ----------
    run: folder of a survey or a training, or the opened run. Its λmax gives the largest stable rate, its spectrum
        and losses reasons for or against; what the task leaves open is taken from it.

    Raises
    ------
    InvalidArgument: `task` is neither a string nor a Task.
    MissingData: there is no run in the folder.

    Source: the lecture, "Practical optimizer selection guide", and what it says elsewhere, as each reason names.

    >>> guide("click-through rates, sparse features").optimizer
    'adagrad'
    """
    if not isinstance(task, (str, Task)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"task must be a description or a Task, got {type(task).__name__}")
    known = Evidence() if run is None else evidence(run)
    asked = task if isinstance(task, str) else ""
    found, understood = understand(task) if isinstance(task, str) else (task, ())
    if asked.strip() and not understood:
        understood = ("none of these words: this is the default",)
    found, filled = _completed(found, known)
    if run is not None and known.largest is None:
        filled += ("from the run: no eigenvalues, which a survey measures; so no largest stable rate",)
    return _recommendation(asked.strip(), found, (*understood, *filled), known)


def _completed(task: Task, known: Evidence) -> tuple[Task, tuple[str, ...]]:
    """The task with what it leaves open and the run knows, and words for that."""
    changes: dict[str, int | bool] = {}
    told: list[str] = []
    for name, value in (("parameters", known.parameters), ("samples", known.samples)):
        if getattr(task, name) is None and value is not None:
            changes[name] = value
            told.append(f"from the run: {value:,} {name}")
    if known.surface and task.full_batch is None:
        changes["full_batch"] = True
        told.append("from the run: a surface, so there is no noise")
    return replace(task, **changes), tuple(told)


def _recommendation(asked: str, task: Task, understood: tuple[str, ...], known: Evidence) -> Recommendation:
    graph, choice = genealogy(), choose(task)
    node, stepping = graph.node(choice.optimizer), graph.node(choice.stepping)
    defaults = hyperparameters(stepping)
    lr, backbone_lr, rate_reasons = rate(choice, task, known, defaults)
    when, schedule_reason = schedule(choice, lr)
    size, batch_reasons = batch(choice, task, known)
    decay, decay_reason = weight_decay(choice, known, defaults, hyperparameters(graph.node("adamw")))
    norm, clipping_reasons = clipping(choice, task)
    made = call(
        stepping.name,
        stepping.class_name,
        lr=lr,
        backbone_lr=backbone_lr,
        decay=decay,
        pretrained=task.pretrained,
    )
    return Recommendation(
        task=task,
        asked=asked,
        understood=understood,
        optimizer=node.name,
        title=_title(choice, graph),
        call=made if choice.base is None else call(node.name, node.class_name, base=made),
        available=node.in_thalweg,
        meanwhile="" if node.in_thalweg else meanwhile(node.name),
        lr=lr,
        backbone_lr=backbone_lr,
        schedule=when,
        batch=size,
        weight_decay=decay,
        clipping=norm,
        reasons=(
            *choice.reasons,
            *_memory(choice, task, graph),
            *findings(choice, task, known),
            *rate_reasons,
            schedule_reason,
            *batch_reasons,
            decay_reason,
            *clipping_reasons,
        ),
        alternatives=_alternatives(choice, task, known, graph),
    )


def _title(choice: Choice, graph: Genealogy) -> str:
    titles = {"sgd": "SGD with momentum"}
    own = titles.get(choice.optimizer, graph.node(choice.optimizer).title)
    if choice.base is None:
        return own
    return f"{own} around {titles.get(choice.base, graph.node(choice.base).title)}"


def _memory(choice: Choice, task: Task, graph: Genealogy) -> tuple[Reason, ...]:
    """The size of the state beside Adam's, where it matters and the parameters are counted."""
    if not task.memory_limited or task.parameters is None:
        return ()
    own, adam = (4e-6 * task.parameters * len(graph.node(name).state) for name in (choice.stepping, "adamw"))
    told = f"Its state for {task.parameters:,} parameters is {number(own, 3)} MB in float32, AdamW's {number(adam, 3)}."
    return (Reason("optimizer", told, "state tensors of the rules, as genealogy() has them"),)


def _alternatives(choice: Choice, task: Task, known: Evidence, graph: Genealogy) -> tuple[Alternative, ...]:
    found: dict[str, Alternative] = {}
    for name, when, source in (*remedies(choice, known), *choice.others):
        node, other = graph.node(name), Choice(name, (), ())
        lr, backbone_lr, _ = rate(other, task, known, hyperparameters(node))
        code = f"meanwhile {meanwhile(name)}"
        if node.in_thalweg:
            code = call(name, node.class_name, lr=lr, backbone_lr=backbone_lr, pretrained=task.pretrained)
        found.setdefault(name, Alternative(name, _title(other, graph), when, source, code))
    return tuple(found.values())
