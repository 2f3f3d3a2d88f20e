"""Datasets: named ones and image folders as uint8 images, decoded once per machine into a memory map that all trials share.

The arrays of :mod:`trainer.image_sources` are written under a lock to ``DATA_DIR/cache`` and moved into place whole: however many
trials start at once, one of them downloads and decodes, and a killed writer leaves nothing that could be mistaken for data.
A dataset is added in :mod:`trainer.image_sources`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import urllib.error
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from trainer import environment_variables
from trainer.components import run
from trainer.errors import ConfigError, UserError
from trainer.files import digest_of_files
from trainer.image_sources import by_class, check_arrays, folder_of, image_files, is_mixed, mixed_order, read_folder
from trainer.image_store import Rows
from trainer.registry import find


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset as a trial sees them; images are rows of the memory map, uint8 (N, C, H, W), labels int64 (N,).

    Args:
        pretrain: images for pretraining, without labels.
        train: images and labels that fit the probe.
        val: held-out images and labels that choose hyper-parameters.
        test: images and labels that are read at the end.
        classes: the number of classes.
    """

    pretrain: Rows
    train: tuple[Rows, Tensor]
    val: tuple[Rows, Tensor]
    test: tuple[Rows, Tensor]
    classes: int


def data_dir(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of downloads and decoded images: ``given``, else $ALPHACL_DATA, else ~/.cache/alphacl."""
    return Path(given or environment_variables.data()).expanduser()


# ------------------------------------------------------------------------------------------------ cache


def _key(name: str, size: int | None) -> str:
    """Return the cache entry's name.

    A folder's changes when a file is added, removed, resized or touched; that of a plug-in's dataset when the file changes that
    defines its function.
    """
    root = folder_of(name)
    if root is None:
        return f"{name}{_source_mark(name)}"
    if not root.is_dir():
        raise ConfigError("dataset", f"no folder {root}; expected images in {root}/train/<class>/ and {root}/test/<class>/")
    seen = hashlib.sha256(f"{root.resolve()} {size}".encode())
    for split, files in image_files(root).items():
        for file, _ in files:
            stat = file.stat()
            seen.update(f"{split}/{file.parent.name}/{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return f"folder-{root.name}{'-mixed' * is_mixed(name)}-{seen.hexdigest()[:12]}"


def _source_mark(name: str) -> str:
    """Return a mark of the source of a plug-in's dataset; empty for a built-in one."""
    dataset = find("dataset", name)
    file = getattr(sys.modules.get(dataset.function.__module__), "__file__", None)
    if dataset.is_built_in or file is None or not Path(file).is_file():
        return ""
    return f"-{digest_of_files([Path(file)])[:12]}"


def is_prepared(name: str, image_size: int | None = None, root: str | os.PathLike[str] | None = None) -> bool:
    """Tell whether a dataset lies decoded in this machine's cache; the arguments are those of :func:`prepare`.

    Raises:
        UserError: if there is no such dataset or folder.
    """
    return (data_dir(root) / "cache" / _key(name, image_size) / "meta.json").exists()


def prepare(name: str, image_size: int | None = None, root: str | os.PathLike[str] | None = None) -> Path:
    """Decode a dataset into this machine's cache unless it is there, downloading it where needed; return its cache entry.

    Safe to call from any number of processes at once: one works, the others wait.

    Args:
        name: a named dataset, ``folder:PATH``, or ``folder:PATH?order=mixed`` for training images whose classes are mixed.
        image_size: side in pixels that the images of a folder are brought to.
        root: the data folder, see :func:`data_dir`.

    Raises:
        UserError: if the image folder is missing, an image is unreadable, a download fails or the data folder can't be written.
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
        arrays = run(find("dataset", name), base / "downloads", name, size) if folder is None else read_folder(folder, size)
    except (urllib.error.URLError, RuntimeError) as error:
        raise UserError(
            f"cannot download {name} to {base / 'downloads'}: {error};"
            " on a machine without internet, put its archive there or use folder:PATH"
        ) from None
    check_arrays(name, arrays)
    if is_mixed(name):
        order = mixed_order(arrays["train_labels"])
        arrays |= {key: arrays[key][order] for key in ("train_images", "train_labels")}
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
    """Return the entry's arrays as memory-mapped tensors, with checksums verified. Raises ValueError where one differs."""
    sums = json.loads((entry / "meta.json").read_text())["crc32"]
    opened = {}
    for key, expected in sums.items():
        array = np.load(entry / f"{key}.npy", mmap_mode="c")
        if zlib.crc32(array.data) != expected:
            raise ValueError(f"{entry / key}.npy has the wrong checksum")
        opened[key] = torch.from_numpy(array)
    return opened


def load(name: str, image_size: int | None = None, root: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """Return a dataset's arrays by name, memory-mapped: images uint8 (N, C, H, W) and labels int64 (N,).

    The names are ``train_images``, ``train_labels``, ``test_images``, ``test_labels``, and perhaps ``unlabeled``, images without
    labels. A damaged cache entry is built anew. The arguments are those of :func:`prepare`.

    Raises:
        UserError: if the dataset cannot be prepared, as in :func:`prepare`.
    """
    entry = prepare(name, image_size, root)
    try:
        return _open(entry)
    except (OSError, ValueError, KeyError):
        with FileLock(f"{entry}.lock"):
            (entry / "meta.json").unlink(missing_ok=True)
        return _open(prepare(name, image_size, root))


# ----------------------------------------------------------------------------------------------- splits


def make_splits(
    arrays: dict[str, Tensor], held_out: float, images: int | None = None, pretrain_on_held_out: bool = False
) -> Splits:
    """Cut a dataset's arrays into :class:`Splits`; every class gives its share to the held-out images.

    Args:
        arrays: the dataset's arrays, as :func:`load` returns them; ``unlabeled`` images serve pretraining alone.
        held_out: share of the training split that is held out, in (0, 1).
        images: limit on the training split, filled class by class in turn; without a limit the unlabeled images are used too.
        pretrain_on_held_out: whether to pretrain on the held-out images too, without their labels.

    Raises:
        ConfigError: if there are fewer images than ``images``, or too few of a class for a held-out one.
    """
    labels = arrays["train_labels"].numpy()
    orders = by_class(labels)
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
    val = torch.from_numpy(np.sort(np.concatenate([order[:cut] for order, cut in zip(orders, cuts, strict=True)])))
    train = torch.from_numpy(np.sort(np.concatenate([order[cut:] for order, cut in zip(orders, cuts, strict=True)])))
    source, target = arrays["train_images"], arrays["train_labels"]
    pretrain: list[tuple[Tensor, Tensor | None]] = [
        (source, torch.cat([train, val]).sort().values if pretrain_on_held_out else train)
    ]
    if "unlabeled" in arrays and images is None:
        pretrain.append((arrays["unlabeled"], None))
    return Splits(
        pretrain=Rows(*pretrain), train=(Rows((source, train)), target[train]), val=(Rows((source, val)), target[val]),
        test=(Rows((arrays["test_images"], None)), arrays["test_labels"]), classes=len(orders),
    )  # fmt: skip
