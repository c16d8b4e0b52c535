"""The lecture's exercise: gradient descent, momentum and Adam on a quadratic, its condition number and schedule varied.

python examples/condition_number.py

How many steps until the minimum is a hundred times nearer than the start? For each optimizer, condition number κ and
schedule the best of a grid of rates counts: so optimizers are compared, not how well somebody guessed their rates.

With the axes along the coordinates Adam does not notice κ at all. Turn them, ROTATION = 45, and it does.
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import thalweg as tw
from thalweg.optim.descent import Descent, descend

STEPS = 200
START = (-1.5, 1.2)
ROTATION = 0
OPTIMIZERS = ("gradient_descent", "momentum", "adam")
CONDITION_NUMBERS = (1, 10, 100, 1000)
RATES = [digit * 10.0**power for power in range(-5, 1) for digit in (1, 2, 5)]
SCHEDULES = {
    "constant": tw.schedules.constant,
    "step": lambda rate: tw.schedules.step(rate, every=STEPS // 3),
    "cosine": lambda rate: tw.schedules.cosine(rate, STEPS),
}


def steps_to_arrive(run: Descent) -> torch.Tensor:
    """For each rate, the step from which on the minimum is a hundred times nearer than the start.

    Where there is none, more than STEPS: the more, the further away the end is.
    """
    distance = run.path[:, 0].norm(dim=-1)
    away = (distance > 0.01 * distance[:, :1]) | distance.isnan()
    # The last step that is still away, plus one.
    arrived = STEPS + 1 - away.flip(1).int().argmax(1).double()
    # A schedule can bring a path back that went astray first, which is luck.
    astray = distance.isnan().any(1) | (distance.amax(1) > 10 * distance[:, 0])
    late = torch.where(astray, torch.inf, STEPS + 1 + distance[:, -1])
    return torch.where(astray | away[:, -1], late, arrived)


def main(out: str = "runs/condition_number.png") -> None:
    best: dict[tuple[str, int, str], tuple[float, float]] = {}
    for kappa in CONDITION_NUMBERS:
        bowl = tw.surfaces.quadratic(condition_number=kappa, rotation=ROTATION)
        for name in OPTIMIZERS:
            for schedule, make in SCHEDULES.items():
                # All rates at once.
                run = descend(bowl, name, START, steps=STEPS, lr=[make(rate) for rate in RATES])
                steps = steps_to_arrive(run)
                winner = int(steps.argmin())
                best[name, kappa, schedule] = float(steps[winner]), RATES[winner]

    print("Steps until the minimum is, and stays, a hundred times nearer than the start, at the best rate η")
    print(
        f"{'optimizer':<18}{'schedule':<10}" + "".join(f"{f'κ = {kappa}':>18}" for kappa in CONDITION_NUMBERS)
    )
    for name in OPTIMIZERS:
        for schedule in SCHEDULES:
            cells = [best[name, kappa, schedule] for kappa in CONDITION_NUMBERS]
            told = [
                f"{steps:.0f} (η = {rate:g})" if steps <= STEPS else f"> {STEPS}" for steps, rate in cells
            ]
            print(f"{name:<18}{schedule:<10}" + "".join(f"{cell:>18}" for cell in told))

    with tw.plots.paper():
        figure = Figure(figsize=(13, 7), layout="constrained")
        axes = figure.subplots(2, len(CONDITION_NUMBERS), sharey="row")
        for kappa, (above, below) in zip(CONDITION_NUMBERS, axes.T, strict=True):
            draw(tw.surfaces.quadratic(condition_number=kappa, rotation=ROTATION), kappa, best, above, below)
        for ax in axes[:, 1:].flat:
            ax.set_ylabel("")
        # One range for all, so that slopes can be compared.
        axes[1, 0].set_ylim(1e-10, 3e3)
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        figure.suptitle(
            "Each optimizer at its best constant rate: a narrower valley slows gradient descent first"
        )
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=130)
    print(f"\nFigure: {out}")


def draw(bowl, kappa, best, above, below) -> None:
    """The paths at the best constant rates on the contours, and the losses along them."""
    runs = {
        name: descend(bowl, name, START, steps=STEPS, lr=best[name, kappa, "constant"][1])
        for name in OPTIMIZERS
    }
    x = torch.linspace(-2, 2, 161, dtype=torch.float64)
    loss = bowl.losses(torch.cartesian_prod(x, x)).view(len(x), len(x))
    paths = {name: run.path for name, run in runs.items()}
    tw.plots.descents(x, x, loss, paths, above, minima=[[0, 0]], legend=False, colorbar=False)
    tw.plots.descent_losses({name: run.loss for name, run in runs.items()}, below, lowest=0.0, legend=False)
    above.set_title(f"κ = {kappa}")


if __name__ == "__main__":
    main()
