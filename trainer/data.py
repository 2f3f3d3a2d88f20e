"""Named datasets → uint8 images, decoded once per machine into a memory map that all trials share.

A dataset is one entry in :data:`SOURCES`: a function from (data folder, name, image size) to arrays. The arrays are written
under a lock to ``DATA_DIR/cache`` and moved into place whole: however many trials start at once, one of them downloads and
decodes, and a killed writer leaves nothing that could be mistaken for data.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import urllib.error
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from trainer.errors import ConfigError, UserError, did_you_mean

Arrays = dict[str, np.ndarray]  # train_images (N, H, W, C) uint8, train_labels (N,), test_images, test_labels[, unlabeled]

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
SPLIT_SEED = 20220131  # one fixed split for all trials: never a trial's own seed


@dataclass(frozen=True)
class Splits:
    """What a trial sees. Images are uint8 (N, C, H, W), labels int64 (N,).

    ``pretrain`` has no labels; ``train`` fits the probe, ``val`` chooses hyper-parameters, ``test`` is read at the end.
    """

    pretrain: Tensor
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int

    @property
    def channels(self) -> int:
        return self.pretrain.shape[1]

    @property
    def size(self) -> int:
        return self.pretrain.shape[-1]


def data_dir(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of downloads and decoded images: as given, else $ALPHACL_DATA, else ~/.cache/alphacl."""
    return Path(given or os.environ.get("ALPHACL_DATA") or Path.home() / ".cache" / "alphacl").expanduser()


# ---------------------------------------------------------------------------------------------- sources


def _digits(root: Path, name: str, size: int | None) -> Arrays:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    test = np.zeros(len(images), dtype=bool)
    test[np.concatenate([order[: len(order) // 5] for order in _by_class(bunch.target)])] = True
    labels = bunch.target.astype(np.int64)
    return {
        "train_images": images[~test],
        "train_labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _cifar(root: Path, name: str, size: int | None) -> Arrays:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    train, test = (kind(str(root), train=part, download=True) for part in (True, False))
    return {
        "train_images": train.data, "train_labels": np.array(train.targets),
        "test_images": test.data, "test_labels": np.array(test.targets),
    }  # fmt: skip


def _stl10(root: Path, name: str, size: int | None) -> Arrays:
    from torchvision.datasets import STL10

    train, test, unlabeled = (STL10(str(root), split=part, download=True) for part in ("train", "test", "unlabeled"))
    return {
        "train_images": train.data.transpose(0, 2, 3, 1), "train_labels": train.labels,
        "test_images": test.data.transpose(0, 2, 3, 1), "test_labels": test.labels,
        "unlabeled": unlabeled.data.transpose(0, 2, 3, 1),
    }  # fmt: skip


SOURCES: dict[str, Callable[[Path, str, int | None], Arrays]] = {
    "digits": _digits, "cifar10": _cifar, "cifar100": _cifar, "stl10": _stl10,
}  # fmt: skip


def folder_of(name: str) -> Path | None:
    """The image tree that ``folder:PATH`` names (``~`` and ``$VARIABLES`` expanded), or None for a named dataset."""
    return Path(os.path.expandvars(name.removeprefix("folder:"))).expanduser() if name.startswith("folder:") else None


def check_dataset_name(name: str) -> None:
    """Refuse a name that is neither a dataset's nor ``folder:PATH``; whether the folder exists is the machine's business.

    Raises:
        UserError: unknown dataset.
    """
    if not (name in SOURCES or (name.startswith("folder:") and len(name) > len("folder:"))):
        raise UserError(f"no dataset {name!r}{did_you_mean(name, [*SOURCES, 'folder:PATH'])}")


def _image_files(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """{'train' | 'test': [(file, class)]} in a fixed order, or a UserError that says what is missing."""
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


def _folder(root: Path, size: int | None) -> Arrays:
    files = _image_files(root)
    names = sorted({name for _, name in files["train"]})
    side = size or min(*_decode(files["train"][0][0], None).shape[:2], 96)
    arrays: Arrays = {}
    for split, entries in files.items():
        images = np.empty((len(entries), side, side, 3), dtype=np.uint8)

        def put(index: int, images: np.ndarray = images, entries: list[tuple[Path, str]] = entries) -> None:
            images[index] = _decode(entries[index][0], side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(put, range(len(entries)), chunksize=256))
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = np.array([names.index(name) for _, name in entries])
    return arrays


def _decode(file: Path, side: int | None) -> np.ndarray:
    """An image file as RGB; with ``side``, its shorter side is brought to that and the centre cut out."""
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"it holds {opened.mode} pixels; expected 8 bits a channel")
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for a broken file
        raise UserError(f"cannot read the image {file}: {str(error).splitlines()[0]}; mend or remove it") from None
    if side is not None and image.size != (side, side):
        width, height = image.size
        scale = side / min(width, height)
        image = image.resize((max(side, round(width * scale)), max(side, round(height * scale))), Image.Resampling.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image)


# ------------------------------------------------------------------------------------------------ cache


def _key(name: str, size: int | None) -> str:
    """The cache entry's name; for a folder it changes when a file is added, removed, resized or touched."""
    root = folder_of(name)
    if root is None:
        return name
    if not root.is_dir():
        raise ConfigError("dataset", f"no folder {root}; expected images in {root}/train/<class>/ and {root}/test/<class>/")
    seen = hashlib.sha256(f"{root.resolve()} {size}".encode())
    for split, files in _image_files(root).items():
        for file, _ in files:
            stat = file.stat()
            seen.update(f"{split}/{file.parent.name}/{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return f"folder-{root.name}-{seen.hexdigest()[:12]}"


def prepare(name: str, image_size: int | None = None, root: str | os.PathLike[str] | None = None) -> Path:
    """Make sure that a dataset is decoded on this machine; download it first where it must be. Returns its cache entry.

    Safe to call from any number of processes at once: one works, the others wait.

    Raises:
        UserError: no such folder, an unreadable image, a download that failed, a data folder that can't be written.
    """
    base = data_dir(root)
    try:
        entry = base / "cache" / _key(name, image_size)
        if (entry / "meta.json").exists():
            return entry
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{entry}.lock"):
            if not (entry / "meta.json").exists():
                _build(name, image_size, base, entry)
    except OSError as error:
        raise UserError(f"cannot prepare the dataset {name} in {base}: {error}") from None
    return entry


def _build(name: str, size: int | None, base: Path, entry: Path) -> None:
    """Decode into a scratch folder and move it into place; called under the entry's lock."""
    for left_over in entry.parent.glob(f"{entry.name}.tmp-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    folder = folder_of(name)
    try:
        arrays = SOURCES[name](base / "downloads", name, size) if folder is None else _folder(folder, size)
    except (urllib.error.URLError, RuntimeError) as error:
        raise UserError(
            f"cannot download {name} to {base / 'downloads'}: {error};"
            " on a machine without internet, put its archive there or use folder:PATH"
        ) from None
    scratch = Path(tempfile.mkdtemp(prefix=f"{entry.name}.tmp-", dir=entry.parent))
    sums = {}
    for key, array in arrays.items():
        array = np.ascontiguousarray(array.transpose(0, 3, 1, 2), dtype=np.uint8) if array.ndim == 4 else array.astype(np.int64)
        np.save(scratch / f"{key}.npy", array)
        sums[key] = zlib.crc32(array.tobytes())
    (scratch / "meta.json").write_text(json.dumps({"dataset": name, "crc32": sums}))
    shutil.rmtree(entry, ignore_errors=True)
    os.replace(scratch, entry)


def _open(entry: Path) -> dict[str, Tensor]:
    """The entry's arrays as memory-mapped tensors, their checksums verified. Raises ValueError where they differ."""
    sums = json.loads((entry / "meta.json").read_text())["crc32"]
    opened = {}
    for key, expected in sums.items():
        array = np.load(entry / f"{key}.npy", mmap_mode="c")
        if zlib.crc32(array.data) != expected:
            raise ValueError(f"{entry / key}.npy has the wrong checksum")
        opened[key] = torch.from_numpy(array)
    return opened


def load(name: str, image_size: int | None = None, root: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """A dataset's arrays: images uint8 (N, C, H, W) and labels int64 under ``train_*`` and ``test_*``, perhaps ``unlabeled``.

    A damaged cache entry is built anew. Raises UserError as :func:`prepare` does.
    """
    entry = prepare(name, image_size, root)
    try:
        return _open(entry)
    except (OSError, ValueError, KeyError):
        with FileLock(f"{entry}.lock"):
            (entry / "meta.json").unlink(missing_ok=True)
        return _open(prepare(name, image_size, root))


# ----------------------------------------------------------------------------------------------- splits


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each class, shuffled by the fixed split seed."""
    rng = np.random.default_rng(SPLIT_SEED)
    return [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]


def make_splits(
    arrays: dict[str, Tensor], held_out: float, images: int | None = None, pretrain_on_held_out: bool = False
) -> Splits:
    """Cut a dataset's arrays into :class:`Splits`; every class gives its share to the held-out slice.

    ``images`` limits the training split, class by class in turn. Unlabeled images serve pretraining alone.

    Raises:
        ConfigError: too few images for a held-out slice.
    """
    labels = arrays["train_labels"].numpy()
    orders = _by_class(labels)
    if images is not None:
        if images > len(labels):
            raise ConfigError("images", f"expected images <= {len(labels)}, the training split's size, got images={images}")
        share, extra = divmod(images, len(orders))
        orders = [order[: share + (place < extra)] for place, order in enumerate(orders)]
    cuts = [max(1, round(held_out * len(order))) for order in orders]
    if any(len(order) <= cut for order, cut in zip(orders, cuts, strict=True)):
        smallest = min(map(len, orders))
        raise ConfigError(
            "held_out",
            f"expected two images of each class at least, the smallest class has {smallest}; raise images or lower held_out",
        )
    val = np.sort(np.concatenate([order[:cut] for order, cut in zip(orders, cuts, strict=True)]))
    train = np.sort(np.concatenate([order[cut:] for order, cut in zip(orders, cuts, strict=True)]))
    source, target = arrays["train_images"], arrays["train_labels"]
    pretrain = source[np.sort(np.concatenate([train, val])) if pretrain_on_held_out else train]
    if "unlabeled" in arrays and images is None:
        pretrain = torch.cat([pretrain, arrays["unlabeled"]])
    return Splits(
        pretrain=pretrain, train=(source[train], target[train]), val=(source[val], target[val]),
        test=(arrays["test_images"], arrays["test_labels"]), classes=len(orders),
    )  # fmt: skip
