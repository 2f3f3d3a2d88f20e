"""Datasets: real files, real downloads over loopback, real processes at once."""

import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import torch

from trainer import ConfigError, UserError
from trainer.data import load, make_splits, prepare
from trainer.image_sources import MIXED


def test_digits_are_real_scans_split_by_class(data_root):
    arrays = load("digits", root=data_root)
    assert arrays["train_images"].shape == (1442, 1, 8, 8)
    assert arrays["test_images"].shape == (355, 1, 8, 8)
    assert arrays["train_images"].dtype == torch.uint8
    assert arrays["train_images"].max() == 255
    counts = arrays["test_labels"].bincount()
    assert counts.min() >= 34
    assert counts.max() <= 37


def test_splits_are_disjoint_balanced_and_the_same_every_time(data_root):
    arrays = load("digits", root=data_root)
    splits = make_splits(arrays, held_out=0.1)
    again = make_splits(arrays, held_out=0.1)
    assert torch.equal(splits.val[0].whole(), again.val[0].whole())
    assert len(splits.train[0]) + len(splits.val[0]) == 1442
    assert torch.equal(splits.pretrain.whole(), splits.train[0].whole())
    assert splits.val[1].bincount().min() >= 14
    known = {t.numpy().tobytes() for t in splits.train[0].whole()}
    twice = sum(t.numpy().tobytes() in known for t in splits.val[0].whole())
    assert twice <= 1  # no image twice, but for scans that are the same
    assert len(make_splits(arrays, 0.1, pretrain_on_held_out=True).pretrain) == 1442


def test_a_subset_is_balanced(data_root):
    splits = make_splits(load("digits", root=data_root), held_out=0.2, images=105)
    counts = (splits.train[1].bincount() + splits.val[1].bincount()).tolist()
    assert sum(counts) == 105
    assert set(counts) == {10, 11}
    with pytest.raises(ConfigError, match="expected images <= 1442"):
        make_splits(load("digits", root=data_root), held_out=0.2, images=2000)
    with pytest.raises(ConfigError, match="two images of each class"):
        make_splits(load("digits", root=data_root), held_out=0.2, images=10)


def test_unlabeled_images_serve_pretraining_alone():
    arrays = {
        "train_images": torch.zeros(20, 3, 4, 4, dtype=torch.uint8), "train_labels": torch.arange(20) % 2,
        "test_images": torch.zeros(4, 3, 4, 4, dtype=torch.uint8), "test_labels": torch.arange(4) % 2,
        "unlabeled": torch.ones(50, 3, 4, 4, dtype=torch.uint8),
    }  # fmt: skip
    splits = make_splits(arrays, held_out=0.1)
    assert len(splits.pretrain) == 18 + 50
    assert splits.pretrain.take(torch.tensor([67, 0, 18, 17]))[:, 0, 0, 0].tolist() == [1, 0, 1, 0]
    assert len(splits.train[0]) == 18


def test_a_folder_of_images(data_root, image_tree):
    arrays = load(f"folder:{image_tree}", root=data_root)
    assert arrays["train_images"].shape == (120, 3, 16, 16)
    assert arrays["test_labels"].bincount().tolist() == [12, 12, 12]
    from PIL import Image

    first = np.asarray(Image.open(sorted((image_tree / "train" / "digit0").iterdir())[0]).convert("RGB"))
    assert np.array_equal(arrays["train_images"][0].permute(1, 2, 0).numpy(), first)
    resized = load(f"folder:{image_tree}", image_size=12, root=data_root)
    assert resized["train_images"].shape == (120, 3, 12, 12)


def test_a_mixed_folder_holds_the_same_images_out_and_none_of_its_batches_is_of_one_class(data_root, image_tree):
    by_classes, mixed = (load(f"folder:{image_tree}{order}", root=data_root) for order in ("", MIXED))
    labels = mixed["train_labels"]
    assert by_classes["train_labels"].tolist() == sorted(labels.tolist()) != labels.tolist()
    assert all(len(batch.unique()) == 3 for batch in labels.split(20))
    for label in range(3):
        assert torch.equal(
            mixed["train_images"][labels == label], by_classes["train_images"][by_classes["train_labels"] == label]
        )
    assert torch.equal(mixed["test_images"], by_classes["test_images"])

    def sorted_rows(rows):
        return sorted(rows.take(torch.arange(len(rows))).flatten(1).tolist())

    one, other = (make_splits(arrays, held_out=0.2, images=60) for arrays in (by_classes, mixed))
    assert sorted_rows(one.val[0]) == sorted_rows(other.val[0])
    assert sorted_rows(one.pretrain) == sorted_rows(other.pretrain)


def test_variables_in_a_folders_path(data_root, image_tree, monkeypatch):
    monkeypatch.setenv("IMAGES", str(image_tree))
    assert len(load("folder:$IMAGES", root=data_root)["test_images"]) == 36


def test_a_changed_folder_is_decoded_anew(tmp_path, image_tree):
    tree = tmp_path / "tree"
    shutil.copytree(image_tree, tree)
    assert len(load(f"folder:{tree}", root=tmp_path)["train_images"]) == 120
    next((tree / "train" / "digit1").iterdir()).unlink()
    assert len(load(f"folder:{tree}", root=tmp_path)["train_images"]) == 119


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda t: shutil.rmtree(t / "test"), "no folder .*test; expected images in"),
        (lambda t: [f.unlink() for f in (t / "train" / "digit1").iterdir()], "no images in .*train/digit1"),
        (lambda t: shutil.copytree(t / "test" / "digit0", t / "test" / "other"), "class 'other'"),
        (lambda t: (t / "train" / "digit1" / "000.png").write_bytes(b"no image"), "cannot read the image .*digit1/000.png"),
        (lambda t: _sixteen_bits(t / "train" / "digit1" / "000.png"), "expected 8 bits a channel"),
        (lambda t: _cut(t / "train" / "digit2" / "001.jpg"), "cannot read the image .*digit2/001.jpg"),
        (lambda t: shutil.rmtree(t), "no folder"),
    ],
)  # fmt: skip
def test_a_bad_folder_is_one_clear_line(tmp_path, image_tree, harm, says):
    tree = tmp_path / "tree"
    shutil.copytree(image_tree, tree)
    harm(tree)
    with pytest.raises(UserError, match=says) as caught:
        load(f"folder:{tree}", root=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def _sixteen_bits(file):
    from PIL import Image

    Image.fromarray(np.full((16, 16), 40000, dtype=np.uint16)).save(file)


def _cut(file):
    file.write_bytes(file.read_bytes()[:200])


def test_a_data_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot prepare the dataset digits in"):
        prepare("digits", root=tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "harm",
    [
        lambda e: _flip(e / "train_images.npy"),
        lambda e: (e / "test_labels.npy").unlink(),
        lambda e: _cut(e / "train_images.npy"),
        lambda e: (e / "meta.json").write_text("{"),
    ],
)
def test_a_damaged_cache_is_built_anew(tmp_path, harm):
    whole = {k: v.clone() for k, v in load("digits", root=tmp_path).items()}
    harm(tmp_path / "cache" / "digits")
    again = load("digits", root=tmp_path)
    assert all(torch.equal(again[k], whole[k]) for k in whole)


def _flip(file):
    data = bytearray(file.read_bytes())
    data[-100] ^= 0xFF
    file.write_bytes(bytes(data))


def test_a_killed_writer_leaves_nothing_that_is_taken_for_data(tmp_path):
    left_over = tmp_path / "cache" / "digits.tmp-killed"
    left_over.mkdir(parents=True)
    (left_over / "train_images.npy").write_bytes(b"half")
    assert len(load("digits", root=tmp_path)["train_images"]) == 1442
    assert not left_over.exists()


# ------------------------------------------------------------------------------------------- downloads

PREPARE = """
import sys
from torchvision.datasets import CIFAR10
spec = __import__("json").load(open(sys.argv[2]))
for key, value in spec.items(): setattr(CIFAR10, key, value)
from trainer.data import load
print(len(load("cifar10", root=sys.argv[1])["train_images"]))
"""


@pytest.fixture
def cifar_server(tmp_path, monkeypatch):
    """An archive in CIFAR-10's own format, served over loopback; counts how often it is fetched."""
    rng = np.random.default_rng(0)
    archive, served, lists = io.BytesIO(), [], {"train_list": [], "test_list": []}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:

        def add(name, value):
            data = pickle.dumps(value)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            return [name, hashlib.md5(data).hexdigest()]

        for name in ("data_batch_1", "data_batch_2", "test_batch"):
            batch = {"data": rng.integers(0, 256, (50, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(50)]}
            lists["test_list" if name == "test_batch" else "train_list"].append(add(name, batch))
        meta = add("batches.meta", {"label_names": list("abcdefghij")})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            served.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive.getvalue())))
            self.end_headers()
            self.wfile.write(archive.getvalue())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spec = {
        "url": f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz",
        "tgz_md5": hashlib.md5(archive.getvalue()).hexdigest(),
        **lists, "meta": {"filename": meta[0], "key": "label_names", "md5": meta[1]},
    }  # fmt: skip
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield spec, served
    server.shutdown()


def _start(tmp_path, spec, root="data"):
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-c", PREPARE, str(tmp_path / root), str(tmp_path / "spec.json")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TQDM_DISABLE": "1"}
    )


@pytest.mark.slow
def test_many_trials_at_once_download_once(tmp_path, cifar_server):
    spec, served = cifar_server
    assert _start(tmp_path, spec, "alone").wait(timeout=120) == 0
    alone = len(served)  # torchvision asks once for redirections, once for the archive
    assert alone in (1, 2)
    started = [_start(tmp_path, spec) for _ in range(3)]
    for process in started:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split()[-1] == "100"
    assert len(served) == 2 * alone


@pytest.mark.slow
def test_a_download_with_the_wrong_checksum_is_refused(tmp_path, cifar_server):
    spec, _ = cifar_server
    process = _start(tmp_path, {**spec, "tgz_md5": "0" * 32})
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "cannot download cifar10" in err.splitlines()[-1]
    assert "corrupted" in err.splitlines()[-1]
