"""Checkpoints that are damaged, disks that are full, runs that are killed: a clear word or a clean restart, no wrong figure."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

from trainer.files import load_checkpoint, portable, read_torch, save_checkpoint


def state():
    return {"epoch": 3, "weights": {"a": torch.randn(200, 50)}, "history": [{"epoch": 0, "x": 1.5}]}


def same(a, b):
    return a["epoch"] == b["epoch"] and torch.equal(a["weights"]["a"], b["weights"]["a"]) and a["history"] == b["history"]


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path, seed):
    """PyTorch's reader does not compare checksums; 60 random single-byte changes, none may change what is loaded."""
    file, saved = tmp_path / "c.pt", state()
    save_checkpoint(file, saved)
    whole, rng, noticed = file.read_bytes(), random.Random(seed), 0
    for _ in range(60):
        place = rng.randrange(len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
        warnings = []
        loaded = load_checkpoint(file, warnings.append)
        noticed += loaded is None
        assert len(warnings) == (loaded is None)
        assert loaded is None or same(loaded, saved), place
    assert noticed > 40  # most of the file is weights


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_cut_checkpoint_is_a_clean_restart(tmp_path, keep):
    file = tmp_path / "c.pt"
    save_checkpoint(file, state())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    warnings = []
    assert load_checkpoint(file, warnings.append) is None
    assert "starting again" in warnings[0]
    assert len(warnings[0].splitlines()) == 1


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"x": print}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"[Ww]eights"):
        read_torch(tmp_path / "c.pt")


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path):
    """The limit on file sizes stands for the disk: a write fails in the middle."""
    code = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from trainer.files import save_checkpoint\n"
        "file = Path(sys.argv[1])\n"
        "save_checkpoint(file, {'epoch': 1})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    save_checkpoint(file, {'epoch': 2, 'w': torch.zeros(100_000)})\n"
        "except OSError as error:\n"
        "    print('OSError', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.pt")], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("OSError"), done.stdout + done.stderr
    assert load_checkpoint(tmp_path / "c.pt") == {"epoch": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["c.pt"]


TRIAL = [
    sys.executable, "-m", "trainer", "--dataset", "digits", "--epochs", "12", "--threads", "1", "--images", "600",
    "--objective", "direct(p=4)", "--batch-size", "64",
]  # fmt: skip


def run(*options, limit=None, **how):
    def lower():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    before = lower if limit else None
    return subprocess.Popen(
        [*TRIAL, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before, **how
    )


def figures(record):
    def plain(row):
        return {k: v for k, v in row.items() if not k.startswith("time/")}

    return plain(record["metrics"]), [plain(row) for row in record["history"]]


@pytest.mark.slow
def test_a_run_killed_at_random_instants_reports_what_an_undisturbed_one_does(tmp_path, data_root, seed):
    rng = random.Random(seed)
    whole = run("--record", tmp_path / "whole.json")
    _, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    kills, checkpoint = 0, tmp_path / "c.pt"
    for _ in range(4):
        process = run("--checkpoint", checkpoint, "--record", tmp_path / "killed.json")
        process.stdout.readline()  # it works: imports alone take seconds
        time.sleep(rng.uniform(0, 1.2))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        if kills == 2:
            break
    last = run("--checkpoint", checkpoint, "--record", tmp_path / "killed.json")
    _, err = last.communicate(timeout=280)
    assert last.returncode == 0, err
    read = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "killed")}
    assert figures(read["killed"]) == figures(read["whole"])


@pytest.mark.slow
def test_a_disk_that_fills_costs_the_checkpoint_not_the_run(tmp_path, data_root):
    from trainer.data import load

    load("digits", root=data_root)
    process = run("--epochs", "1", "--checkpoint", tmp_path / "c.pt", limit=4000)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert f"warning: cannot write the checkpoint {tmp_path / 'c.pt'}: " in err
    assert json.loads(out.splitlines()[-1])["metrics"]["test/linear"] > 0
    process = run("--epochs", "0", "--record", tmp_path / "r.json", limit=200)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 2
    assert f"error: cannot write {tmp_path / 'r.json'}: " in err
    assert json.loads(out.splitlines()[-1])["metrics"]["test/linear"] > 0  # what was computed is not lost


def test_an_encoder_is_written_for_machines_without_a_gpu():
    class OnGpu:
        def cpu(self):
            return "on the cpu"

    assert portable({"weight": OnGpu(), "steps": 3}) == {"weight": "on the cpu", "steps": 3}
