"""Draws α against distance for every constructor of α at three temperatures: the picture in trainer/OBJECTIVES.md.

python results/theory/draw_alphas.py [--out trainer/alphas.png]
"""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.objectives import make_objective
from trainer.options import Parser
from trainer.pairs import Pairs

TAUS = (0.1, 0.3, 1.0)
SHOWN = (
    "uniform", "entropy", "square", "inverse(k=1)", "tsallis(q=0.5)", "tsallis(q=1.5)", "direct(p=4)", "adnce",
    "infonce", "soft_triplet", "lifted_structured", "mine", "n_plus_1_tuplet", "modified_triplet", "triplet",
    "triplet_contrastive",
)  # fmt: skip

LEFT_OUT = {  # and why
    "sinkhorn": "its α depends on all anchors",
    "dclw": "its α is that of entropy",
    "spectral": "its α is negative at distances above 1",
}


def draw(file: Path) -> None:
    """Draw an anchor's α, with sum 1, over 254 negatives spread evenly over d² in [0, 2] and a positive at d² = 0.2."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    inter = torch.linspace(0, 2, 254, dtype=torch.float64)[None]
    pairs = Pairs(inter, torch.full((1, 1), 0.2, dtype=torch.float64))
    figure, axes = plt.subplots(4, 4, figsize=(12, 10), sharex=True)
    for axis, name in zip(axes.flat, SHOWN, strict=True):
        for index, tau in enumerate(TAUS):
            objective = make_objective(name, tau)
            assert objective.weights is not None, "a loss of embeddings has no α"
            alpha = objective.weights(pairs).alpha
            alpha = alpha / alpha.sum(dim=1, keepdim=True)
            label = f"τ = {tau:g}" if objective.tau is not None else "no temperature"
            axis.plot(inter[0], alpha[0] * inter.shape[1], color=f"C{index}", label=label)
            if objective.tau is None:
                break
        axis.set_title(name, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("d² to the negative")
    for axis in axes[:, 0]:
        axis.set_ylabel("α × number of negatives")
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Draw the picture as a script; return the exit status."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("trainer/alphas.png"), help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    draw(arguments.out)
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
