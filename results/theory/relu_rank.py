"""Checks that two-layer ReLU networks with fixed α have fixed points of rank above 1 (arXiv 2201.12680, section 4).

Linear networks have only fixed points of rank 1.

Many random starts maximise E_α of x ↦ W₂ σ(W₁ x), σ ReLU or the identity, under two budgets for W₁: unit norm per row (each
neuron's own), or unit Frobenius norm as a whole; W₂ has unit Frobenius norm. Inputs are real image patches, or the one-hot
patterns for which the paper can say what happens. Prints a table, writes a picture, and says what follows.

    python results/theory/relu_rank.py [--starts 16] [--steps 1200] [--out relu_rank.png]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from results.theory.patches import contrastive_covariance, fixed_alpha, photo_patches
from trainer.options import Parser

HIDDEN, OUTPUT = 16, 8
RANK_TOLERANCE = 0.01  # singular values above this share of the largest count
FIXED = 1e-3  # a start has come to a fixed point when its tangential gradient is below this share of the whole gradient


@dataclass(frozen=True)
class Case:
    """The outcome of all random starts for one data set, budget and activation; tensors are (starts,)."""

    data: str
    budget: str
    activation: str
    energy: Tensor
    residual: Tensor  # tangential gradient over the gradient: 0 at a fixed point
    rank: Tensor  # of W₁
    share: Tensor  # σ₁² / ‖W₁‖²

    @property
    def at_fixed_point(self) -> Tensor:
        """Return which starts have come to a fixed point, a boolean tensor (starts,)."""
        return self.residual < FIXED


def one_hot_patterns(patterns: int = 8, copies: int = 6) -> tuple[Tensor, Tensor]:
    """Return orthonormal patterns, each the input of several images, both views alike: (patterns · copies, patterns) each."""
    x = torch.eye(patterns, dtype=torch.float64).repeat_interleave(copies, dim=0)
    return x, x.clone()


def maximise(
    data: str, first: Tensor, second: Tensor, alpha: Tensor, budget: str, relu: bool, starts: int, steps: int, seed: int
) -> Case:
    """Maximise E_α by ascent from all Gaussian starts at once, each step as long as the weights.

    Args:
        data: the name of the data set.
        first: first views, (N, D).
        second: second views, (N, D).
        alpha: the fixed α, (2N, 2N).
        budget: ``rows`` for unit norm per row of W₁, ``Frobenius`` for unit norm as a whole.
        relu: whether σ is ReLU, else the identity.
        starts: the number of random starts.
        steps: the number of steps at most.
        seed: the seed of the starts.
    """
    generator = torch.Generator().manual_seed(seed)
    a = _budget(torch.randn(starts, HIDDEN, first.shape[1], generator=generator, dtype=torch.float64), budget)
    b = _budget(torch.randn(starts, OUTPUT, HIDDEN, generator=generator, dtype=torch.float64), "Frobenius")
    x, n = torch.cat([first, second]), len(first)

    def ascent() -> tuple[Tensor, tuple[Tensor, Tensor]]:
        free = a.requires_grad_(), b.requires_grad_()
        hidden = x @ a.mT
        hidden = hidden.relu() if relu else hidden
        # W₂ is linear, so E_α is ½ tr(W₂ C W₂ᵀ) with the contrastive covariance C of the hidden layer.
        covariance = contrastive_covariance(hidden[:, :n], hidden[:, n:], alpha)
        value = ((b @ covariance) * b).sum(dim=(1, 2)) / 2
        return value.detach(), torch.autograd.grad(value.sum(), free)  # type: ignore[return-value]

    for step in range(steps):
        value, gradients = ascent()
        residual = _residual(gradients, (a.detach(), b.detach()), (budget, "Frobenius"))
        if step == steps - 1 or residual.max() < FIXED / 2:
            break
        a = _budget(a.detach() + _budget(gradients[0], budget), budget)
        b = _budget(b.detach() + _budget(gradients[1], "Frobenius"), "Frobenius")
    a = a.detach()
    singular = torch.linalg.svdvals(a)
    rank = (singular > RANK_TOLERANCE * singular[:, :1]).sum(dim=1)
    share = singular[:, 0] ** 2 / (singular**2).sum(dim=1)
    return Case(data, budget, "ReLU" if relu else "linear", value, residual, rank, share)


def _budget(w: Tensor, kind: str) -> Tensor:
    norm = w.norm(dim=2, keepdim=True) if kind == "rows" else w.flatten(1).norm(dim=1)[:, None, None]
    scaled: Tensor = w / norm.clamp_min(1e-30)  # a dead neuron has no gradient
    return scaled


def _residual(gradients: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], kinds: tuple[str, str]) -> Tensor:
    """Return the tangential part of the gradient over the whole gradient, (starts,); zero at a fixed point."""
    whole, tangent = torch.zeros(len(weights[0])), torch.zeros(len(weights[0]))
    for g, w, kind in zip(gradients, weights, kinds, strict=True):
        along = (g * w).sum(dim=2 if kind == "rows" else (1, 2), keepdim=True) * w
        whole = whole + g.flatten(1).square().sum(dim=1)
        tangent = tangent + (g - along).flatten(1).square().sum(dim=1)
    return (tangent / whole).sqrt()


def table(cases: list[Case]) -> str:
    """Return the cases as a Markdown table."""
    lines = [
        "| inputs | ‖W₁‖ budget | network | E: median | at a fixed point | rank of W₁ there: median | most |"
        " σ₁² share: median | least | rank > 1 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for c in cases:
        at = c.at_fixed_point
        ranks, shares = c.rank[at].double(), c.share[at]
        texts = ["–"] * 5
        if at.any():
            texts = [f"{ranks.median():.0f}", f"{ranks.max():.0f}", f"{shares.median():.4f}", f"{shares.min():.4f}"]
            texts.append(f"{100 * (ranks > 1).double().mean():.0f} %")
        lines.append(
            f"| {c.data} | {c.budget} | {c.activation} | {c.energy.median():.4g} | {int(at.sum())} of {len(at)} | "
            + " | ".join(texts)
            + " |"
        )
    return "\n".join(lines)


def verdict(cases: list[Case]) -> str:
    """Return one paragraph that says what the cases confirm or contradict."""

    def above_one(activation: str) -> tuple[int, int]:
        chosen = [c.rank[c.at_fixed_point] for c in cases if c.activation == activation]
        return sum(int((r > 1).sum()) for r in chosen), sum(len(r) for r in chosen)

    relu, relu_all = above_one("ReLU")
    linear, linear_all = above_one("linear")
    holds = relu > 0 and linear <= 0.05 * linear_all
    return (
        f"Of the ReLU networks that came to a fixed point {relu} of {relu_all} have a first layer of rank above 1"
        f" (singular values above {RANK_TOLERANCE:.0%} of the largest count), of the linear ones {linear} of {linear_all}. This"
        f" {'confirms' if holds else 'contradicts'} the claim that two-layer ReLU networks have fixed points of rank above 1"
        " where linear networks have none but rank 1. Which rank a start ends at depends on the budget and on the inputs: it"
        " is above 1 where every neuron has a budget of its own, and high where the inputs are patterns for neurons to divide"
        " among them; on photographs, whose covariance has one dominant direction, little lies outside it (see σ₁²)."
    )


def draw(cases: list[Case], file: Path) -> None:
    """Draw histograms of the rank of W₁ at the fixed points into a picture file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    groups = sorted({(c.data, c.budget) for c in cases}, reverse=True)
    figure, axes = plt.subplots(1, len(groups), figsize=(3.2 * len(groups), 3.6), sharey=True, squeeze=False)
    for axis, (data, budget) in zip(axes[0], groups, strict=True):
        for offset, c in enumerate(c for c in cases if (c.data, c.budget) == (data, budget)):
            counts = torch.bincount(c.rank[c.at_fixed_point], minlength=HIDDEN + 1).double() / max(1, int(c.at_fixed_point.sum()))
            positions = [r + 0.4 * offset - 0.2 for r in range(HIDDEN + 1)]
            axis.bar(positions, counts, width=0.4, label=c.activation, color=("C0", "C3")[offset])
        axis.set(title=f"{data}, budget per {'row' if budget == 'rows' else 'layer'}", xlabel="rank of W₁", xlim=(0, 10))
    axes[0, 0].set_ylabel("share of fixed points")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def run(starts: int, steps: int, seed: int) -> list[Case]:
    """Return all cases: inputs × budget × activation."""
    patches = photo_patches(48, seed)
    patterns = one_hot_patterns()
    cases = []
    for data, views in (("photo patches", patches), ("one-hot patterns", patterns)):
        scale = views[0].norm(dim=1).mean()
        first, second = views[0] / scale, views[1] / scale
        alpha = fixed_alpha(first, second, "uniform", 1.0)
        for budget in ("rows", "Frobenius"):
            cases += [maximise(data, first, second, alpha, budget, relu, starts, steps, seed) for relu in (False, True)]
    return cases


def main(argv: list[str] | None = None) -> int:
    """Run the check as a script; return the exit status."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=16, help="random starts per case (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="steps at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of patches and starts (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("relu_rank.png"), help="the picture (default: %(default)s)")
    arguments = parser.parse_args(argv)
    cases = run(arguments.starts, arguments.steps, arguments.seed)
    print(table(cases) + "\n\n" + verdict(cases))
    draw(cases, arguments.out)
    print(f"\nwrote {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
