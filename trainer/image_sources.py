"""Sources of images: named datasets, and trees of image files.

A dataset is one function with the decorator :func:`dataset`, from (download folder, name, image size) to arrays ``train_images``
(N, H, W, C) uint8, ``train_labels`` (N,), ``test_images``, ``test_labels``, and perhaps ``unlabeled``, images without labels.
:mod:`trainer.data` calls it under a lock, once per machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

from trainer.errors import UserError, first_line
from trainer.registry import F, find, register

Arrays = dict[str, np.ndarray]

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
SPLIT_SEED = 20220131  # one fixed split for all trials: never a trial's own seed
MIXED = "?order=mixed"  # ends the name of an image folder whose classes are mixed


def dataset(*names: str) -> Callable[[F], F]:
    """Register a function from (download folder, name, image size) to :data:`Arrays` under these names."""
    return register("dataset", {}, inputs=3, names=names)


def by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Return the indices of each class among ``labels`` (N,), shuffled by the fixed split seed."""
    rng = np.random.default_rng(SPLIT_SEED)
    return [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]


@dataset("digits")
def _digits(root: Path, name: str, size: int | None) -> Arrays:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    test = np.zeros(len(images), dtype=bool)
    test[np.concatenate([order[: len(order) // 5] for order in by_class(bunch.target)])] = True
    labels = bunch.target.astype(np.int64)
    return {
        "train_images": images[~test],
        "train_labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
    }


@dataset("cifar10", "cifar100")
def _cifar(root: Path, name: str, size: int | None) -> Arrays:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    train, test = (kind(str(root), train=part, download=True) for part in (True, False))
    return {
        "train_images": train.data, "train_labels": np.array(train.targets),
        "test_images": test.data, "test_labels": np.array(test.targets),
    }  # fmt: skip


@dataset("stl10")
def _stl10(root: Path, name: str, size: int | None) -> Arrays:
    from torchvision.datasets import STL10

    train, test, unlabeled = (STL10(str(root), split=part, download=True) for part in ("train", "test", "unlabeled"))
    return {
        "train_images": train.data.transpose(0, 2, 3, 1), "train_labels": train.labels,
        "test_images": test.data.transpose(0, 2, 3, 1), "test_labels": test.labels,
        "unlabeled": unlabeled.data.transpose(0, 2, 3, 1),
    }  # fmt: skip


def check_arrays(name: str, arrays: Arrays) -> None:
    """Refuse arrays that are no dataset, as a plug-in may return them.

    Args:
        name: the dataset's name, for messages.
        arrays: what its function returned, see :func:`dataset`.

    Raises:
        UserError: if an array is missing, images are not square uint8 of 1 or 3 channels and alike, or labels are not 0 … K − 1.
    """

    def refuse(what: str) -> NoReturn:
        raise UserError(f"the dataset {name}: {what}")

    if not isinstance(arrays, dict):
        refuse(f"expected a dictionary of arrays, got {type(arrays).__name__}")
    needed = ("train_images", "train_labels", "test_images", "test_labels")
    for key in needed:
        if not isinstance(arrays.get(key), np.ndarray):
            refuse(f"expected an array {key}, got {type(arrays.get(key)).__name__}")
    if unknown := arrays.keys() - {*needed, "unlabeled"}:
        refuse(f"no array {min(map(str, unknown))!r} is known; known: {', '.join(needed)}, unlabeled")
    shape = arrays["train_images"].shape[1:]
    for key in (k for k in arrays if not k.endswith("_labels")):
        images = arrays[key]
        square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] in (1, 3)
        if images.dtype != np.uint8 or not square or len(images) == 0 or images.shape[1:] != shape:
            wanted = "square uint8 images (N, S, S, C) with C 1 or 3, alike in all splits"
            refuse(f"expected {key} to hold {wanted}, got {images.dtype} {images.shape}")
    classes = np.unique(arrays["train_labels"])
    for split in ("train", "test"):
        labels = arrays[f"{split}_labels"]
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != arrays[f"{split}_images"].shape[:1]:
            expected = f"a whole number for each of {len(arrays[f'{split}_images'])} images"
            refuse(f"expected {split}_labels to hold {expected}, got {labels.dtype} {labels.shape}")
        if not np.array_equal(classes, np.arange(len(classes))) or not np.isin(labels, classes).all() or len(classes) < 2:
            refuse(f"expected labels 0 to K - 1 of at least 2 classes in {split}_labels, got {np.unique(labels)[:6].tolist()}")


# Channels and side of a named dataset's images.
SHAPES = {"digits": (1, 8), "cifar10": (3, 32), "cifar100": (3, 32), "stl10": (3, 96)}


def folder_of(name: str) -> Path | None:
    """Return the image tree that ``folder:PATH`` names (``~`` and ``$VARIABLES`` expanded), or None for a named dataset."""
    if not name.startswith("folder:"):
        return None
    return Path(os.path.expandvars(name.removeprefix("folder:").removesuffix(MIXED))).expanduser()


def is_mixed(name: str) -> bool:
    """Tell whether a dataset is an image folder whose classes are mixed, ``folder:PATH?order=mixed``."""
    return name.startswith("folder:") and name.endswith(MIXED)


def mixed_order(labels: np.ndarray) -> np.ndarray:
    """Return a fixed order (N,) of images with these labels (N,) in which classes are mixed at random.

    Images of one class keep their order among each other, so the same images are held out, and ``images: N`` takes the same
    ones, as without mixing.
    """
    places = np.argsort(np.random.default_rng(SPLIT_SEED).permutation(labels), kind="stable")
    order = np.empty(len(labels), dtype=np.int64)
    order[places] = np.argsort(labels, kind="stable")
    return order


def order_warning(name: str, shuffle: bool) -> str:
    """Return a warning, in one line, of an image folder that is read unshuffled, class by class; empty where it is not."""
    if shuffle or folder_of(name) is None or is_mixed(name):
        return ""
    return (
        "shuffle: false reads an image folder class by class, so the images of a batch are of one class; the archives of CIFAR-10"
        f" and CIFAR-100, which the paper's code reads unshuffled, mix their classes, as {name}{MIXED} does"
    )


def check_dataset_name(name: str) -> None:
    """Raise UserError where a name is neither a dataset's nor ``folder:PATH``.

    Whether the folder exists is not checked: it may exist only on the machine that runs the trial.
    """
    if not (name.startswith("folder:") and name.removesuffix(MIXED) != "folder:"):
        find("dataset", name, also=("folder:PATH",))


def image_files(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """Return the files of an image tree in a fixed order: {'train' | 'test': [(file, class)]}.

    Raises:
        UserError: if a folder or its images are missing, or ``test`` has a class that ``train`` has not.
    """
    found: dict[str, list[tuple[Path, str]]] = {}
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise UserError(f"no folder {root / split}; expected images in {root}/train/<class>/ and {root}/test/<class>/")
        classes = sorted(p for p in (root / split).iterdir() if p.is_dir() and not p.name.startswith("."))
        files = [(f, c.name) for c in classes for f in sorted(c.iterdir()) if f.suffix.lower() in IMAGE_SUFFIXES]
        empty = [c for c in classes if not any(name == c.name for _, name in files)]
        if not files or empty:
            raise UserError(f"no images in {empty[0] if empty else root / split}; expected files such as *.jpg or *.png")
        found[split] = files
    unknown = {name for _, name in found["test"]} - {name for _, name in found["train"]}
    if unknown:
        raise UserError(f"{root}/test has the class {sorted(unknown)[0]!r}, which {root}/train has not")
    return found


def read_folder(root: Path, size: int | None) -> Arrays:
    """Decode an image tree into arrays, as :func:`dataset` describes them.

    Args:
        root: the folder that holds ``train/<class>/`` and ``test/<class>/``.
        size: the images' side in pixels; when not given that of the first training image, 96 at most.

    Raises:
        UserError: if images are missing or cannot be read.
    """
    files = image_files(root)
    names = sorted({name for _, name in files["train"]})
    side = size or min(*decode(files["train"][0][0], None).shape[:2], 96)
    arrays: Arrays = {}
    for split, entries in files.items():
        images = np.empty((len(entries), side, side, 3), dtype=np.uint8)

        def put(index: int, images: np.ndarray = images, entries: list[tuple[Path, str]] = entries) -> None:
            images[index] = decode(entries[index][0], side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(put, range(len(entries)), chunksize=256))
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = np.array([names.index(name) for _, name in entries])
    return arrays


def decode(file: Path, side: int | None) -> np.ndarray:
    """Return an image file as RGB, uint8 (H, W, 3); with ``side``, its shorter side is resized to that and the centre cut out.

    Raises:
        UserError: if the file cannot be read, or has more than 8 bits a channel.
    """
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"it holds {opened.mode} pixels; expected 8 bits a channel")
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for a broken file
        raise UserError(f"cannot read the image {file}: {first_line(error)}; mend or remove it") from None
    if side is not None and image.size != (side, side):
        width, height = image.size
        scale = side / min(width, height)
        image = image.resize((max(side, round(width * scale)), max(side, round(height * scale))), Image.Resampling.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image)
