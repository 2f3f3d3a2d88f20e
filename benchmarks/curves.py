"""Loss and accuracy epoch by epoch, ours against a plain PyTorch trainer's, over several seeds, as a picture.

    python benchmarks/curves.py --dataset folder:data/cifar10-jpeg --images 2000 --width 8 --seeds 3 --out benchmarks/curves.png

Same images, first weights of the encoder, batch, Adam at a constant rate; the plain trainer augments with torchvision image by
image and computes in float32. Both are probed alike after every epoch: softmax regression (penalty 0.01) on training features,
accuracy on test images.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from contenders import TAU, Torchvision, our_trainer, plain, versions

from trainer import TrialConfig, probe
from trainer.data import Splits, load, make_splits
from trainer.pretrain import Pretrainer

Curve = list[tuple[float, float]]  # per epoch from 0: mean loss (of no step in epoch 0: not a number), accuracy


def accuracy(judge: Pretrainer, splits: Splits) -> float:
    """Test accuracy of the encoder that ``judge`` holds."""
    train, test = (probe.Features(judge.embed(images), labels) for images, labels in (splits.train, splits.test))
    [fitted] = probe.fit_linear(train, splits.classes, [1e-2])
    return probe.linear_accuracy(fitted, test)


def our_curve(make: Callable[..., Pretrainer], splits: Splits, seed: int, epochs: int) -> Curve:
    """Ours, as a trial trains."""
    trainer = make(seed=seed)
    found = [(float("nan"), accuracy(trainer, splits))]
    for _ in range(epochs):
        loss = trainer.train_epoch()["train/loss"]
        found.append((loss, accuracy(trainer, splits)))
    return found


def plain_curve(make: Callable[..., Pretrainer], splits: Splits, seed: int, epochs: int, batch_size: int, width: int) -> Curve:
    """The plain trainer from the same encoder as ours, judged in float32 by the same probe."""
    judge = make(seed=seed, precision="float32")
    torch.manual_seed(seed)
    model = Torchvision(width)
    model.encoder.load_state_dict(judge.encoder.state_dict())
    steps = plain(splits.pretrain.whole(), batch_size, width, torch.device("cpu"), model=model)
    found: Curve = []
    for epoch in range(epochs + 1):
        losses = [float(next(steps)) for _ in range(judge.steps)] if epoch else [float("nan")]
        judge.encoder.load_state_dict(model.encoder.state_dict())
        found.append((statistics.fmean(losses), accuracy(judge, splits)))
    return found


def draw(curves: dict[str, list[Curve]], title: str, file: Path) -> None:
    """Two panels: mean over seeds as a line, every seed as a thin one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for colour, (name, seeds) in zip(("tab:blue", "tab:orange"), curves.items(), strict=True):
        values = torch.tensor(seeds)  # (seeds, epochs + 1, 2)
        for place, panel in enumerate(panels):
            panel.plot(values[:, :, place].T, color=colour, alpha=0.3, linewidth=0.8)
            panel.plot(
                values[:, :, place].mean(dim=0),
                color=colour,
                marker="o",
                markersize=3,
                label=f"{name}, mean of {len(seeds)} seeds",
            )
    for panel, label in zip(
        panels, (f"InfoNCE, τ = {TAU} (mean over the epoch)", "test accuracy of a linear probe, %"), strict=True
    ):
        panel.set_xlabel("epoch")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Train, draw, and print the last epochs' figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="folder:data/cifar10-jpeg", help="(default: %(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="training images (default: %(default)s)")
    parser.add_argument("--width", type=int, default=8, help="of the ResNet-18 (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--data-dir", help="decoded images (default: $ALPHACL_DATA or ~/.cache/alphacl)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/curves.png"), help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    splits = make_splits(load(arguments.dataset, root=arguments.data_dir), TrialConfig().held_out, arguments.images)

    def make(**settings: object) -> Pretrainer:
        return our_trainer(
            splits.pretrain,
            arguments.dataset,
            arguments.batch_size,
            arguments.width,
            torch.device("cpu"),
            arguments.data_dir,
            **settings,
        )

    curves: dict[str, list[Curve]] = {"plain PyTorch": [], "alphacl": []}
    for seed in range(arguments.seeds):
        curves["plain PyTorch"].append(plain_curve(make, splits, seed, arguments.epochs, arguments.batch_size, arguments.width))
        curves["alphacl"].append(our_curve(make, splits, seed, arguments.epochs))
        print({name: [round(x, 3) for x in made[-1][-1]] for name, made in curves.items()}, flush=True)
    size = f"ResNet-18 of width {arguments.width}, {len(splits.pretrain)} CIFAR-10 images, batch {arguments.batch_size}"
    about = f"{size}; plain in float32, alphacl in {make(seed=0).precision}"
    draw(curves, about, arguments.out)
    last = {name: [[round(x, 3) for x in seed[-1]] for seed in made] for name, made in curves.items()}
    print(json.dumps({"last_epoch_loss_and_accuracy": last, "curves": curves, **versions()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
