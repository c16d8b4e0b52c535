"""Rules that treat the weights of a layer as a matrix."""

from thalweg.optim.lineage.node import Node

MATRIX = (
    Node(
        "kfac",
        "K-FAC",
        "KFAC",
        "matrix",
        2015,
        "Martens & Grosse",
        "Optimizing neural networks with Kronecker-factored approximate curvature (arXiv:1503.05671)",
        r"A = \mathrm{E}[a a^T],\quad S = \mathrm{E}[s s^T],\quad "
        r"W \leftarrow W - \eta\, \left(S + \frac{\sqrt{\lambda}}{\pi} I\right)^{-1} G\, "
        r"\left(A + \pi\sqrt{\lambda}\, I\right)^{-1}",
        "A = E[aaᵀ], S = E[ssᵀ]; W ← W − η(S + √λ/π I)⁻¹G(A + π√λ I)⁻¹, with inputs a of the layer and gradients s "
        "of its outputs",
        (),
        "for each layer two square factors, of its inputs and of its outputs",
    ),
    Node(
        "ekfac",
        "EKFAC",
        "EKFAC",
        "matrix",
        2018,
        "George et al.",
        "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis (arXiv:1806.03884)",
        r"W \leftarrow W - \eta\, Q_S\, \frac{Q_S^T G\, Q_A}{D + \lambda}\, Q_A^T,\quad "
        r"D = \mathrm{E}[(Q_S^T G_i Q_A)^2]",
        "W ← W − ηQ_S((Q_SᵀGQ_A)/(D + λ))Q_Aᵀ, D = E[(Q_SᵀGᵢQ_A)²], with K-FAC's eigenvectors Q and gradients Gᵢ of "
        "samples",
        ("D",),
        "K-FAC's factors and their eigenvectors",
    ),
    Node(
        "shampoo",
        "Shampoo",
        "Shampoo",
        "matrix",
        2018,
        "Gupta, Koren & Singer",
        "Shampoo: preconditioned stochastic tensor optimization (arXiv:1802.09568)",
        r"L \leftarrow L + G G^T,\quad R \leftarrow R + G^T G,\quad "
        r"W \leftarrow W - \eta\, L^{-1/4}\, G\, R^{-1/4}",
        "L ← L + GGᵀ; R ← R + GᵀG; W ← W − ηL^(−1/4) G R^(−1/4)",
        (),
        "for each matrix two square factors, and their inverse roots",
    ),
    Node(
        "soap",
        "SOAP",
        "SOAP",
        "matrix",
        2025,
        "Vyas et al.",
        "SOAP: improving and stabilizing Shampoo using Adam (arXiv:2409.11321)",
        r"G' = Q_L^T G\, Q_R,\quad W \leftarrow W - \eta\, Q_L\, \mathrm{Adam}(G')\, Q_R^T",
        "G′ = Q_LᵀGQ_R; W ← W − ηQ_L Adam(G′) Q_Rᵀ, with the eigenvectors Q of Shampoo's factors",
        ("exp_avg", "exp_avg_sq"),
        "for each matrix Shampoo's factors and their eigenvectors",
    ),
    Node(
        "muon",
        "Muon",
        "Muon",
        "matrix",
        2024,
        "Jordan et al.",
        "Muon: an optimizer for hidden layers in neural networks (blog post)",
        r"M \leftarrow \mu M + G,\quad W \leftarrow (1-\eta\lambda)\, W - \eta s\, "
        r"\mathrm{NewtonSchulz}(G + \mu M)",
        "M ← μM + G; W ← (1 − ηλ)W − ηs NewtonSchulz(G + μM), which takes UΣVᵀ to about UVᵀ",
        ("momentum_buffer",),
        "AdamW's state for what is no matrix",
    ),
)
