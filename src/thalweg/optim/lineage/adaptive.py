"""Rules with a rate for each parameter from its past gradients, and what came of Adam."""

from thalweg.optim.lineage.node import Node

ADAPTIVE = (
    Node(
        "adagrad",
        "AdaGrad",
        "AdaGrad",
        "adaptive",
        2011,
        "Duchi, Hazan & Singer",
        "Adaptive subgradient methods for online learning and stochastic optimization",
        r"G \leftarrow G + g^2,\quad \theta \leftarrow \theta - \frac{\eta}{\sqrt{G} + \epsilon}\, g",
        "G ← G + g²; θ ← θ − ηg/(√G + ε)",
        ("sum",),
    ),
    Node(
        "rmsprop",
        "RMSProp",
        "RMSProp",
        "adaptive",
        2012,
        "Hinton",
        "Neural networks for machine learning, lecture 6 (Coursera, unpublished)",
        r"E \leftarrow \gamma E + (1-\gamma)\, g^2,\quad "
        r"\theta \leftarrow \theta - \frac{\eta}{\sqrt{E} + \epsilon}\, g",
        "E ← γE + (1−γ)g²; θ ← θ − ηg/(√E + ε)",
        ("square_avg",),
        "grad_avg where centred, momentum_buffer where momentum is not 0",
    ),
    Node(
        "adam",
        "Adam",
        "Adam",
        "adaptive",
        2015,
        "Kingma & Ba",
        "Adam: a method for stochastic optimization (arXiv:1412.6980)",
        r"m \leftarrow \beta_1 m + (1-\beta_1)\, g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2,\quad "
        r"\hat{m} = \frac{m}{1-\beta_1^t},\quad \hat{v} = \frac{v}{1-\beta_2^t},\quad "
        r"\theta \leftarrow \theta - \frac{\eta}{\sqrt{\hat{v}} + \epsilon}\, \hat{m}",
        "m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; m̂ = m/(1−β₁ᵗ); v̂ = v/(1−β₂ᵗ); θ ← θ − ηm̂/(√v̂ + ε)",
        ("exp_avg", "exp_avg_sq"),
        "max_exp_avg_sq with amsgrad",
    ),
    Node(
        "adamw",
        "AdamW",
        "AdamW",
        "adaptive",
        2019,
        "Loshchilov & Hutter",
        "Decoupled weight decay regularization (arXiv:1711.05101)",
        r"\theta \leftarrow \theta - \eta\left(\frac{\hat{m}}{\sqrt{\hat{v}} + \epsilon} + "
        r"\lambda \theta\right),\quad \hat{m},\, \hat{v}\ \mathrm{as\ in\ Adam}",
        "θ ← θ − η(m̂/(√v̂ + ε) + λθ), with m̂ and v̂ as in Adam",
        ("exp_avg", "exp_avg_sq"),
        "max_exp_avg_sq with amsgrad",
    ),
    Node(
        "lion",
        "Lion",
        "Lion",
        "sign",
        2023,
        "Chen et al.",
        "Symbolic discovery of optimization algorithms (arXiv:2302.06675)",
        r"c = \beta_1 m + (1-\beta_1)\, g,\quad "
        r"\theta \leftarrow \theta - \eta\,(\mathrm{sign}\, c + \lambda\theta),\quad "
        r"m \leftarrow \beta_2 m + (1-\beta_2)\, g",
        "c = β₁m + (1−β₁)g; θ ← θ − η(sign c + λθ); m ← β₂m + (1−β₂)g",
        ("exp_avg",),
    ),
    Node(
        "schedule_free_adamw",
        "Schedule-Free AdamW",
        "ScheduleFreeAdamW",
        "schedule-free",
        2024,
        "Defazio et al.",
        "The road less scheduled (arXiv:2405.15682)",
        r"y = (1-\beta) z + \beta x,\quad "
        r"z \leftarrow z - \gamma\left(\frac{g(y)}{\sqrt{\hat{v}} + \epsilon} + \lambda y\right),\quad "
        r"x \leftarrow (1-c)\, x + c z",
        "y = (1−β)z + βx; z ← z − γ(g(y)/(√v̂ + ε) + λy); x ← (1−c)x + cz",
        ("z", "exp_avg_sq"),
    ),
    Node(
        "switch",
        "Adam, then SGD",
        "Switch",
        "adaptive",
        2017,
        "Keskar & Socher",
        "Improving generalization performance by switching from Adam to SGD (arXiv:1712.07628)",
        r"\mathrm{step\ of\ Adam\ until\ a\ criterion\ holds,\ then\ of\ SGD\ with\ momentum}",
        "step of Adam until a criterion holds, then of SGD with momentum",
        (),
        "that of the optimizer whose turn it is",
    ),
)
