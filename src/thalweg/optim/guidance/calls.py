"""The code that makes an optimizer, and what there is in place of one that Thalweg does not have yet."""

from __future__ import annotations

from thalweg.optim.guidance.rate import MOMENTUM
from thalweg.optim.guidance.recommendation import literal

_OBJECTIVES = (
    "levenberg_marquardt",
    "gauss_newton",
    "newton",
    "natural_gradient",
    "kfac",
    "ekfac",
    "sophia_g",
)
_MEANWHILE = {
    "lbfgs": 'torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe"), stepped with a closure',
    "levenberg_marquardt": 'scipy.optimize.least_squares(residuals, theta, method="lm")',
    "muon": "torch.optim.Muon(hidden_matrices), and AdamW for all other parameters",
    "schedule_free_sgd": "torch.optim.SGD with a schedule",
}


def call(
    name: str,
    class_name: str,
    *,
    lr: float | None = None,
    backbone_lr: float | None = None,
    decay: float | None = None,
    base: str | None = None,
    pretrained: bool = False,
) -> str:
    """The expression, with what is to be tuned as names: lr."""
    if base is not None:
        return f"tw.optim.{class_name}({base}, model=model)"
    if name == "efficient_sam":
        return "tw.optim.EfficientSAM(optimizer, model, losses)"
    if name in ("sam", "asam", "gsam"):
        return f"tw.optim.{class_name}(optimizer, model=model)"
    if name == "switch":
        return "tw.optim.Switch(adam, sgd, at=step)"
    if name == "lbfgs":
        return "tw.optim.LBFGS(model.parameters())"
    if name == "muon":
        return "tw.optim.Muon(model.named_parameters())"
    if name in _OBJECTIVES:
        return f"tw.optim.{class_name}(model.parameters(), objective=objective)"
    rate = "lr" if lr is None else literal(lr)
    parameters, settings = "model.parameters()", [f"lr={rate}"]
    if pretrained:
        small = "lr / 100" if backbone_lr is None else literal(backbone_lr)
        # The groups hold the rates.
        parameters, settings = f'tw.optim.layer_groups(model, {{"backbone": {small}}}, lr={rate})', []
    if name == "sgd":
        settings.append(f"momentum={MOMENTUM:g}")
    if decay:
        settings.append(f"weight_decay={literal(decay)}")
    return f"tw.optim.{class_name}({', '.join([parameters, *settings])})"


def meanwhile(name: str) -> str:
    """What to use as long as Thalweg does not have the optimizer."""
    return _MEANWHILE.get(name, "tw.optim.AdamW(model.parameters(), lr=1e-3)")
