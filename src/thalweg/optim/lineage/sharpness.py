"""Sharpness-aware rules: wrapped around any base, they change the point at which the gradient is taken."""

from thalweg.optim.lineage.node import Node

_OWN = "that of the base; a copy of θ between the two gradients"

SHARPNESS = (
    Node(
        "sam",
        "SAM",
        "SAM",
        "sharpness-aware",
        2021,
        "Foret et al.",
        "Sharpness-aware minimization for efficiently improving generalization (arXiv:2010.01412)",
        r"g' = \nabla L\left(\theta + \rho\, \frac{g}{\Vert g \Vert}\right),\quad "
        r"\theta \leftarrow \mathrm{base}(\theta, g')",
        "g′ = ∇L(θ + ρg/‖g‖); step of the base from θ with g′",
        (),
        _OWN,
    ),
    Node(
        "asam",
        "ASAM",
        "ASAM",
        "sharpness-aware",
        2021,
        "Kwon et al.",
        "ASAM: adaptive sharpness-aware minimization for scale-invariant learning (arXiv:2102.11600)",
        r"g' = \nabla L\left(\theta + \rho\, \frac{T^2 g}{\Vert T g \Vert}\right),\quad T = |\theta| + \eta,\quad "
        r"\theta \leftarrow \mathrm{base}(\theta, g')",
        "g′ = ∇L(θ + ρT²g/‖Tg‖), T = |θ| + η; step of the base from θ with g′",
        (),
        _OWN,
    ),
    Node(
        "gsam",
        "GSAM",
        "GSAM",
        "sharpness-aware",
        2022,
        "Zhuang et al.",
        "Surrogate gap minimization improves sharpness-aware training (arXiv:2203.08065)",
        r"g' = \nabla L\left(\theta + \rho\, \frac{g}{\Vert g \Vert}\right),\quad "
        r"\theta \leftarrow \mathrm{base}(\theta, g' - \alpha\, g_\perp)",
        "g′ = ∇L(θ + ρg/‖g‖); step of the base from θ with g′ − αg⊥, g⊥ the part of g orthogonal to g′",
        (),
        _OWN + ", and the first gradient",
    ),
    Node(
        "efficient_sam",
        "Efficient SAM",
        "EfficientSAM",
        "sharpness-aware",
        2022,
        "Du et al.",
        "Efficient sharpness-aware minimization for improved training of neural networks (arXiv:2110.03141)",
        r"g' = \nabla L_S\left(\theta + \frac{\rho}{\beta}\, b \odot \frac{g}{\Vert g \Vert}\right),\quad "
        r"\theta \leftarrow \mathrm{base}(\theta, g')",
        "g′ = ∇L_S(θ + ρ/β b ⊙ g/‖g‖); step of the base from θ with g′, with a mask b that is 1 with probability β, "
        "and S the samples whose loss rose most",
        (),
        _OWN,
    ),
)
