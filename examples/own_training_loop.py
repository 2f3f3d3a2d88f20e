"""Train with an objective of alphacl in a plain PyTorch loop: no configuration, no sweep.

    python examples/own_training_loop.py [EPOCHS]

An objective is a function ``(view1, view2) -> scalar`` of l2-normalised embeddings (N, D), row n of both being image n.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import normalize

from trainer.objectives import make_objective
from trainer.probe import Features, knn

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
torch.manual_seed(0)
scans = load_digits()
images = torch.tensor(scans.data, dtype=torch.float32) / 16
labels = torch.tensor(scans.target)
train, test = slice(0, 1400), slice(1400, None)

encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
projector = nn.Linear(128, 64)
optimiser = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=1e-3)
objective = make_objective("direct(p=4)", tau=0.5)


def embed(batch: torch.Tensor) -> torch.Tensor:
    """Return l2-normalised embeddings of a randomly disturbed copy of a batch."""
    disturbed = batch * (torch.rand_like(batch) > 0.2) + 0.1 * torch.randn_like(batch)
    return normalize(projector(encoder(disturbed)), dim=1)


for epoch in range(1, epochs + 1):
    for rows in torch.randperm(1400).split(200):
        loss = objective(embed(images[train][rows]), embed(images[train][rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        accuracy = knn(
            Features(encoder(images[train]), labels[train]), Features(encoder(images[test]), labels[test]), classes=10, k=20
        )
    print(f"epoch {epoch:>2}  loss {loss.item():.4f}  kNN {accuracy:.1f} %")
