"""What the Hessian of a trained classifier says: where it is, how sharp, how noisy, and which rates it allows.

Run it: python examples/curvature.py
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn

import thalweg as tw

x, y = load_wine(return_X_y=True)
data = torch.tensor((x - x.mean(0)) / x.std(0)).float(), torch.tensor(y)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 20), nn.GELU(), nn.Linear(20, 3))
optimizer = tw.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(100):
    optimizer.zero_grad()
    F.cross_entropy(model(data[0]), data[1]).backward()
    optimizer.step()

obj = tw.Objective(model, F.cross_entropy, data)
H = tw.curvature.hessian(obj)
print("The point:    ", tw.curvature.classify(obj))
print("Eigenpairs:   ", tw.curvature.eigenpairs(H, k=6, which="both"))
print("Trace:        ", tw.curvature.trace(H))
print("Gauss-Newton: ", tw.curvature.eigenpairs(tw.curvature.ggn(obj), k=3))
print("Fisher:       ", tw.curvature.eigenpairs(tw.curvature.fisher(obj, kind="empirical"), k=3))
for kind in ("max", "adaptive", "fisher_rao"):
    print(f"{kind + ':':14}", tw.curvature.sharpness(obj, kind))
noise = tw.curvature.gradient_noise_scale(obj)
print("Noise:        ", noise)
print("Stable rates: ", tw.curvature.largest_stable_rate(obj, "momentum"))
print("              ", tw.curvature.largest_stable_rate(obj, optimizer))
print("Layer rates:  ", tw.curvature.layer_rates(obj).rates)
