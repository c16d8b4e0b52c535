"""A model of one's own, with a DataLoader, surveyed from Python or from the command line.

python examples/my_model.py
thalweg survey examples/my_model.py:make
"""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg as tw


def make() -> tw.Objective:
    """A small network, trained for twenty epochs, with its loss and its data."""
    x, y = load_breast_cancer(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    loader = DataLoader(TensorDataset(x, torch.tensor(y)), batch_size=64, shuffle=True)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(20):
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return tw.Objective(model, nn.functional.cross_entropy, loader)


if __name__ == "__main__":
    result = tw.survey(make(), out="runs/my_model")
    print(result.verdict)
