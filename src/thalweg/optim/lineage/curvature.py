"""Second-order rules: the inverse of a curvature matrix, or something cheaper in its place."""

from thalweg.optim.lineage.node import Node

_SOPHIA = (
    "Sophia: a scalable stochastic second-order optimizer for language model pre-training (arXiv:2305.14342)"
)
_SOPHIA_STEP = (
    r"m \leftarrow \beta_1 m + (1-\beta_1)\, g,\quad h \leftarrow \beta_2 h + (1-\beta_2)\, \hat{h},\quad "
    r"\theta \leftarrow \theta - \eta\lambda\theta - \eta\, "
    r"\mathrm{clip}\left(\frac{m}{\max(\gamma h, \epsilon)}, 1\right),\quad "
)
_SOPHIA_TEXT = (
    "m ← β₁m + (1−β₁)g; every k steps h ← β₂h + (1−β₂)ĥ; θ ← θ − ηλθ − η clip(m/max(γh, ε), 1), with ĥ = "
)

CURVATURE = (
    Node(
        "newton",
        "Newton",
        "Newton",
        "second-order",
        1740,
        "Simpson",
        "Essays on several curious and useful subjects (after Newton 1669 and Raphson 1690)",
        r"\theta \leftarrow \theta - H^{-1} g",
        "θ ← θ − H⁻¹g",
    ),
    Node(
        "saddle_free_newton",
        "Saddle-free Newton",
        "SaddleFreeNewton",
        "second-order",
        2014,
        "Dauphin et al.",
        "Identifying and attacking the saddle point problem in high-dimensional non-convex optimization "
        "(arXiv:1406.2572)",
        r"\theta \leftarrow \theta - |H|^{-1} g",
        "θ ← θ − |H|⁻¹g, where |H| has |λᵢ| for the eigenvalues λᵢ of H",
    ),
    Node(
        "lbfgs",
        "L-BFGS",
        "LBFGS",
        "second-order",
        1980,
        "Nocedal",
        "Updating quasi-Newton matrices with limited storage",
        r"\theta \leftarrow \theta - \eta B g,\quad B y_i = s_i,\quad "
        r"s_i = \theta_{i+1} - \theta_i,\quad y_i = g_{i+1} - g_i",
        "θ ← θ − ηBg, with B ≈ H⁻¹ from the steps s and the changes y of the gradient of the last m steps",
        (),
        "2m vectors: the last m steps and changes of the gradient",
    ),
    Node(
        "gauss_newton",
        "Gauss–Newton",
        "GaussNewton",
        "second-order",
        1809,
        "Gauss",
        "Theoria motus corporum coelestium",
        r"\theta \leftarrow \theta - (J^T J)^{-1} J^T r",
        "θ ← θ − (JᵀJ)⁻¹Jᵀr, with the residuals r and their Jacobian J",
    ),
    Node(
        "levenberg_marquardt",
        "Levenberg–Marquardt",
        "LevenbergMarquardt",
        "second-order",
        1944,
        "Levenberg",
        "A method for the solution of certain non-linear problems in least squares (and Marquardt 1963)",
        r"(J^T J + \mu D)\, \delta = -J^T r,\quad \theta \leftarrow \theta + \delta",
        "(JᵀJ + μD)δ = −Jᵀr; θ ← θ + δ, μ from the gain ratio",
        (),
        "the damping μ",
    ),
    Node(
        "natural_gradient",
        "Natural gradient",
        "NaturalGradient",
        "second-order",
        1998,
        "Amari",
        "Natural gradient works efficiently in learning",
        r"\theta \leftarrow \theta - \eta\, (F + \lambda I)^{-1} g",
        "θ ← θ − η(F + λI)⁻¹g, with the Fisher matrix F and a damping λ",
    ),
    Node(
        "sophia_g",
        "Sophia-G",
        "SophiaG",
        "second-order",
        2024,
        "Liu et al.",
        _SOPHIA,
        _SOPHIA_STEP + r"\hat{h} = B\, \hat{g}^2",
        _SOPHIA_TEXT + "Bĝ², ĝ the gradient of B samples with labels drawn from the model",
        ("exp_avg", "hessian"),
    ),
    Node(
        "sophia_h",
        "Sophia-H",
        "SophiaH",
        "second-order",
        2024,
        "Liu et al.",
        _SOPHIA,
        _SOPHIA_STEP + r"\hat{h} = u \odot (H u)",
        _SOPHIA_TEXT + "u ⊙ (Hu), u random",
        ("exp_avg", "hessian"),
    ),
)
