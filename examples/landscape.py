"""A map of the loss around a trained classifier of digits, to one percent from few of its points, and what it hides.

python examples/landscape.py
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import thalweg as tw

RESOLUTION = 51


def train(seed: int = 0, epochs: int = 10) -> tw.Objective:
    """The digits problem's network, trained by Adam."""
    digits = tw.problems.get("digits")
    model = digits.make_model(seed)
    optimizer = tw.optim.Adam(model.parameters(), lr=1e-3)
    x, y = digits.train
    shuffle = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=shuffle).split(64):
            optimizer.zero_grad()
            digits.loss_fn(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return digits.train_objective(model)


def main(out: str = "runs/landscape.png") -> None:
    obj = train()
    plane = tw.landscape.random_plane(obj)
    # Accuracy is known where the loss was evaluated; as a metric of its own it would take every point.
    found = tw.landscape.evaluate(obj, plane, RESOLUTION, also=["accuracy"])
    accuracy = found.values["accuracy"][found.evaluated]
    print(*found.caption, sep="\n")
    print(f"Accuracy: {accuracy.max():.1%} at best, {accuracy.min():.1%} at worst of the points evaluated.")
    # Measured here, by Hessian products; from now on the slice, its exports and the caption hold it.
    print(found.honesty)

    # The same plane on a sample: how much of the map is that sample's?
    part = tw.landscape.evaluate(obj, plane, RESOLUTION, samples=300)
    off = part - found
    print(part.sampling)

    with tw.plots.paper():
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        axes = found.axes["alpha"], found.axes["beta"]
        tw.plots.contours(*axes, found.values["loss"], left, labels=plane.labels)
        left.set_title("Loss on all samples")
        tw.plots.difference(*axes, off.values["loss"], right, bounds=off.bounds["loss"], labels=plane.labels)
        right.set_title(
            "Loss on 300 samples, less that on all\n(hatched: no more than interpolation and rounding)"
        )
        tw.plots.caption(figure, [*found.caption, *found.limits])
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=130)
    found.dataset.to_netcdf(Path(out).with_suffix(".nc"), engine="h5netcdf")
    print(f"Figure: {out}")


if __name__ == "__main__":
    main()
