"""Checks that deep linear networks with fixed α do PCA (arXiv 2201.12680, section 4).

The claim is that almost every local optimum of E_α is global and rank 1. Many random starts at several depths maximise
E_α = ½ tr(W C_α Wᵀ), W = W_L … W_1 with unit Frobenius norm per layer, on real image patches. The
optimum is half the top eigenvalue of C_α. Prints a table, writes a picture, and says what follows.

    python results/theory/pca.py [--starts 64] [--steps 400] [--out pca.png]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from results.theory.patches import contrastive_covariance, fixed_alpha, photo_patches
from trainer.options import Parser

DEPTHS = (1, 2, 3, 4)
WIDTH = 24
TOLERANCE = 1e-3  # a start is at the global optimum when its energy is within this share of it


@dataclass(frozen=True)
class Depth:
    """The outcome of all random starts at one depth of the network."""

    depth: int
    ratios: Tensor  # (starts,) energy reached over the optimum
    shares: Tensor  # (starts, layers) σ₁² / ‖W_l‖²: 1 for a rank-1 layer
    alignment: Tensor  # (starts,) |cos| of the end-to-end map's top right singular vector and C_α's top eigenvector
    curve: Tensor  # (steps,) median ratio on the way

    @property
    def at_optimum(self) -> float:
        """Return the share of starts, 0 to 1, whose energy is within :data:`TOLERANCE` of the optimum."""
        return float((self.ratios > 1 - TOLERANCE).double().mean())


def maximise(covariance: Tensor, depth: int, starts: int, steps: int, seed: int) -> Depth:
    """Maximise E_α by gradient ascent (Adam, learning rate falling to zero) from all Gaussian starts at once.

    Args:
        covariance: the contrastive covariance C_α, (D, D).
        depth: the number of layers.
        starts: the number of random starts.
        steps: the number of gradient steps.
        seed: the seed of the starts.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [len(covariance), *[WIDTH] * depth]
    shapes = [(starts, b, a) for a, b in itertools.pairwise(sizes)]
    free = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    values, vectors = torch.linalg.eigh(covariance)
    optimum = values[-1] / 2
    optimiser = torch.optim.Adam(free, lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    curve = []
    for _ in range(steps):
        ratios = _energy(covariance, _layers(free)) / optimum
        optimiser.zero_grad()
        (-ratios.sum()).backward()
        optimiser.step()
        schedule.step()
        curve.append(ratios.detach().median())
    with torch.no_grad():
        layers = _layers(free)
        product = _product(layers)
        singular = [torch.linalg.svdvals(w) for w in layers]
        shares = torch.stack([s[:, 0] ** 2 / (s**2).sum(dim=1) for s in singular], dim=1)
        top = torch.linalg.svd(product, full_matrices=False).Vh[:, 0]
        return Depth(depth, _energy(covariance, layers) / optimum, shares, (top @ vectors[:, -1]).abs(), torch.stack(curve))


def _layers(free: list[Tensor]) -> list[Tensor]:
    return [w / w.flatten(1).norm(dim=1)[:, None, None] for w in free]


def _product(layers: list[Tensor]) -> Tensor:
    product = layers[0]
    for layer in layers[1:]:
        product = layer @ product
    return product


def _energy(covariance: Tensor, layers: list[Tensor]) -> Tensor:
    product = _product(layers)
    return ((product @ covariance) * product).sum(dim=(1, 2)) / 2


def table(outcomes: dict[str, list[Depth]]) -> str:
    """Return the outcomes as a Markdown table, by the objective of α."""
    lines = [
        "| α | depth | starts | E / optimum: median | least | top singular value's share, layer by layer: least |"
        " cos with the top eigenvector: least | starts at the optimum |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, depths in outcomes.items():
        for d in depths:
            shares = " / ".join(f"{share:.4f}" for share in d.shares.min(dim=0).values)
            row = [f"{d.ratios.median():.5f}", f"{d.ratios.min():.5f}", shares, f"{d.alignment.min():.5f}"]
            lines.append(f"| {name} | {d.depth} | {len(d.ratios)} | " + " | ".join(row) + f" | {100 * d.at_optimum:.0f} % |")
    return "\n".join(lines)


def verdict(outcomes: dict[str, list[Depth]]) -> str:
    """Return one paragraph that says what the outcomes confirm or contradict."""
    every = [d for depths in outcomes.values() for d in depths]
    starts = sum(len(d.ratios) for d in every)
    there = sum(int((d.ratios > 1 - TOLERANCE).sum()) for d in every)
    rank = min((float(d.shares[d.ratios > 1 - TOLERANCE].min()) for d in every if d.at_optimum > 0), default=0.0)
    above = max(float(d.ratios.max()) for d in every)
    confirms = there >= 0.95 * starts and rank > 0.99 and above < 1 + 1e-9
    return (
        f"{there} of {starts} random starts reach the PCA optimum within {TOLERANCE:.0e}; the largest ratio to it is {above:.9f}."
        f" In those that reach it the top singular value holds at least {100 * rank:.2f} % of every layer's squared norm. "
        f"This {'confirms' if confirms else 'contradicts'} the claim that with α fixed a deep linear network "
        "does PCA of the contrastive covariance, and that almost every local optimum is global and rank 1."
    )


def draw(outcomes: dict[str, list[Depth]], file: Path) -> None:
    """Draw the way to the optimum, and the layers' ranks, into a picture file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for style, (name, depths) in zip(("-", "--", ":"), outcomes.items(), strict=False):
        for index, d in enumerate(depths):
            left.semilogy((1 - d.curve).clamp_min(1e-9), style, color=f"C{index}", label=f"{name}, depth {d.depth}")
    left.set(xlabel="step", ylabel="1 − E / optimum, median over starts", title="Energy against the PCA optimum")
    left.legend(fontsize=7)
    name, depths = next(iter(outcomes.items()))
    for index, d in enumerate(depths):
        for layer in range(d.depth):
            x = d.depth + 0.15 * (layer - (d.depth - 1) / 2)
            right.plot([x] * len(d.shares), d.shares[:, layer], ".", alpha=0.3, color=f"C{index}")
    right.set(
        xlabel="depth (a column per layer)", ylabel="top singular value's share of ‖W‖²", title=f"Ranks of the layers, {name}"
    )
    right.set(xticks=DEPTHS, ylim=(0, 1.05))
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run the check as a script; return the exit status."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=64, help="random starts per depth (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="gradient steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of patches and starts (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("pca.png"), help="the picture (default: %(default)s)")
    arguments = parser.parse_args(argv)
    first, second = photo_patches(200, arguments.seed)
    outcomes = {}
    for name, tau in (("uniform", 1.0), ("direct(p=4)", 0.1)):
        covariance = contrastive_covariance(first, second, fixed_alpha(first, second, name, tau))
        outcomes[name] = [maximise(covariance, depth, arguments.starts, arguments.steps, arguments.seed) for depth in DEPTHS]
    print(table(outcomes) + "\n\n" + verdict(outcomes))
    draw(outcomes, arguments.out)
    print(f"\nwrote {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
