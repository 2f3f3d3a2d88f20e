import json

import pytest

from trainer.__main__ import main

pytestmark = pytest.mark.slow

SHORT = ["--dataset", "digits", "--epochs", "2", "--threads", "1", "--images", "300"]


def test_it_prints_a_line_per_epoch_and_a_final_record(capsys, tmp_path, data_root):
    assert main([*SHORT, "--objective", "direct(p=4)", "--record", str(tmp_path / "r.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if not line.startswith("ALPHACL")]
    assert [line.split()[1] for line in lines[:3]] == ["0/2", "1/2", "2/2"]
    record = json.loads(lines[3])
    assert record["config"]["objective"] == "direct(p=4)"
    assert {"val/linear", "val/knn", "test/linear", "test/knn", "train/loss", "time/epoch_s"} <= set(record["metrics"])
    stored = json.loads((tmp_path / "r.json").read_text())
    assert [row["epoch"] for row in stored["history"]] == [0, 1, 2]
    assert stored["metrics"] == record["metrics"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tau", "0"], "--tau: expected tau > 0"),
        (["--objective", "infonc"], "--objective: no objective 'infonc'; did you mean 'infonce'?"),
        (["--dataset", "folder:/nowhere"], "--dataset: no folder /nowhere; expected images in /nowhere/train/<class>/"),
        (["--batch-size", "5000"], "--batch-size: expected batch_size <= "),
        (["--images", "99999"], "--images: expected images <= 1442"),
        (["--read-at", "1,9"], "--read-at: expected epochs between 1 and epochs=2"),
        (["--device", "cuda:99"], "cannot use device 'cuda:99'"),
        (["--device", "meta"], "cannot use device 'meta'"),
        (["--record", "/nowhere/r.json"], "cannot write /nowhere/r.json"),
        (["--threads", "0"], "--threads: expected threads >= 1"),
        (["--plugin", "no_such_module"], "cannot import the plugin 'no_such_module'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(options, says, capsys, data_root):
    assert main([*SHORT, *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_wrong_option_is_one_line_that_knows_the_right_one(capsys):
    with pytest.raises(SystemExit) as left:
        main([*SHORT, "--epoch_s", "3"])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert "python -m trainer: error: unknown option '--epoch_s'; did you mean '--epochs'?" in error
    assert len(error.splitlines()) == 1


def test_a_checkpoint_is_taken_up_again(capsys, tmp_path, data_root):
    kept = ["--checkpoint", str(tmp_path / "c.pt"), "--objective", "entropy"]
    assert main([*SHORT, *kept]) == 0
    first = capsys.readouterr().out.splitlines()[-1]
    assert main([*SHORT, *kept]) == 0  # nothing left but the final report
    again = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("ALPHACL")]
    assert again[0].startswith("epoch 2/2")
    assert json.loads(again[-1])["metrics"] == json.loads(first)["metrics"]
    assert main([*SHORT, *kept, "--seed", "7"]) == 2  # another trial's
    assert "the checkpoint is of trial" in capsys.readouterr().err


def test_a_diverged_trial_exits_with_1(capsys, data_root):
    assert main([*SHORT, "--lr", "1e30", "--objective", "triplet_contrastive"]) == 1
    assert "diverged in epoch 1" in capsys.readouterr().err
