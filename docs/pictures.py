"""Draw the README's picture from a finished run: `python docs/pictures.py runs/digits docs/images/digits.png`."""

import sys

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import thalweg as tw


def draw(run_folder: str, out: str) -> None:
    """The plane of the training path, in height and in contours, and the Hessian's spectral density."""
    with tw.store.Run.read(run_folder) as run:
        described = run.result("slice.trajectory")
        density, pairs = run.result("density"), run.result("eigenpairs")
        loss = tw.store.dataset(run, "trajectory")["loss"].to_numpy()
    alpha, beta = described["axes"]["alpha"], described["axes"]["beta"]
    path = {"path": described["path"], "path_values": described["path_loss"]}
    figure = Figure(figsize=(13, 4.2), layout=ConstrainedLayoutEngine(w_pad=0.1))
    with tw.plots.paper():
        tw.plots.surface(alpha, beta, loss, figure.add_subplot(131, projection="3d"), **path)
        tw.plots.contours(alpha, beta, loss, figure.add_subplot(132), **path)
        spectrum = figure.add_subplot(133)
        tw.plots.spectral_density(
            density["grid"],
            density["density"],
            density["stderr"],
            pairs["values"],
            spectrum,
            width=density["width"],
            size=density["size"],
        )
        figure.savefig(out, dpi=110)


if __name__ == "__main__":
    draw(*sys.argv[1:])
