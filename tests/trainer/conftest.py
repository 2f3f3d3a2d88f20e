"""What the trainer's tests share."""

import pytest
import torch


@pytest.fixture(scope="session")
def views():
    """``views(seed)`` → two correlated l2-normalised views in float64, of a random number of images."""

    def draw(seed, n=None, dim=None):
        g = torch.Generator().manual_seed(seed)
        n = n or int(torch.randint(2, 9, (), generator=g))
        dim = dim or int(torch.randint(2, 7, (), generator=g))
        base = torch.randn(n, dim, generator=g, dtype=torch.float64)
        pair = [base + 0.5 * torch.randn(n, dim, generator=g, dtype=torch.float64) for _ in range(2)]
        return tuple(torch.nn.functional.normalize(v, dim=1) for v in pair)

    return draw
