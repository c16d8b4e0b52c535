"""`thalweg audit`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli.arguments import JsonOption, SeedOption, SetOption, parameters
from thalweg.cli.output import print_json
from thalweg.cli.picture import checked_picture, save
from thalweg.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from thalweg.initialization import SignalAudit
    from thalweg.objective import Objective


def audit(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A problem by name, or path/to/file.py:factory.")
    ],
    seed: SeedOption = 0,
    assignments: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture of both signals: .png, .svg or .pdf; none if not given.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a model before training: do signals and gradients get through, do units start identical?

    The model is run on the first batch of its training data, with the gradient of its own loss. A problem's model is
    freshly initialized from --seed, a file's is taken as its factory returns it.

    Examples:

        thalweg audit digits

        thalweg audit my_model.py:make
    """
    file = None if out is None else checked_picture(out, "")
    objective = _objective(target, assignments, seed)
    from thalweg import initialization

    batch = _first_batch(objective)
    signals = initialization.audit(objective.model, batch, batch_loss=_loss(objective), seed=seed)
    identical = initialization.symmetry(objective.model, _inputs(objective.model, batch), seed=seed)
    if file is not None:
        from thalweg import plots

        with plots.paper():
            save(_figure(signals), file)
    if json:
        told = asdict(identical) | {"verdict": identical.verdict}
        print_json(
            {
                "target": target,
                "signals": asdict(signals),
                "symmetry": told,
                "picture": None if file is None else str(file),
            }
        )
        return
    print(f"Signals\n{signals}\n\nSymmetry of units\n{identical}")
    if file is not None:
        print(f"\nPicture: {file}")


def _objective(target: str, assignments: list[str] | None, seed: int) -> Objective:
    from thalweg import surveys
    from thalweg.objective import Objective

    found = surveys.resolve(target, **parameters(assignments))
    if found.problem is not None:
        return found.problem.train_objective(found.problem.make_model(seed))
    if not isinstance(found.objective, Objective):
        raise InvalidArgument(
            f"{target} is a surface and has no layers: audit a problem or a file.py:factory"
        )
    return found.objective


def _first_batch(objective: Objective) -> Any:
    from thalweg.objective.preserved import preserved_rng

    with preserved_rng():
        _, batch = next(iter(objective.batches))
    return batch


def _loss(objective: Objective) -> Any:
    def loss(model: nn.Module, batch: Any) -> Any:
        return objective.module.mean_loss(batch)

    return loss


def _inputs(model: nn.Module, batch: Any) -> Any:
    """What the model takes of a batch, if that is one thing; else None, and an input is made up."""
    from thalweg.initialization.sample import call, undisturbed

    inputs = batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch
    import torch

    try:
        with undisturbed(model), torch.no_grad():
            call(model, inputs)
    except InvalidArgument:
        return None
    return inputs


def _figure(signals: SignalAudit) -> Figure:
    from matplotlib.figure import Figure

    from thalweg import plots

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    plots.signal_propagation(
        [layer.mean_square**0.5 for layer in signals.layers],
        [float("nan") if layer.gradient is None else layer.gradient**0.5 for layer in signals.layers],
        [layer.name for layer in signals.layers],
        figure.add_subplot(),
        first_bad=signals.first_bad,
    )
    return figure
