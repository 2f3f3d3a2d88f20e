"""The best configuration, and trials as frames and files."""

import io

import pandas
import pytest

import results
from results.best_configuration import best_of, to_yaml
from results.record.reader import open_sweep
from search_spaces import Document, read_spec


@pytest.fixture
def most_of_it(fake_sweep):
    """A sweep of which all but one trial have finished."""
    made = fake_sweep()
    for digest in made.digests[:-1]:
        made.run(digest)
    made.run(made.digests[-1], range(2))
    return made


def test_the_best_says_how_many_others_are_level_with_it(sweep, figures):
    values = {0.1: (80.0, 82.0), 0.2: (82.0, 80.0), 0.5: (70.0, 90.0), 1.0: (60.0, 70.0)}
    entries = [({"tau": tau, "seed": s, "epochs": 2}, figures(v)) for tau, pair in values.items() for s, v in enumerate(pair)]
    (best,) = results.best_of(open_sweep(sweep(entries), "s"))
    assert best.summary() == (
        "infonce · tau 0.1: val/linear 82.00 ± 1.41, test/linear 81.00 ± 1.41 over 2 seeds, the best of 4 by val/linear,"
        " level with 1 other"
    )
    (best,) = results.best_of(open_sweep(sweep(entries[:2] + entries[4:], "other"), "other"))
    assert best.summary().endswith("the best of 3 by val/linear")


@pytest.mark.slow
def test_the_best_is_a_mean_over_seeds_and_its_yaml_gives_its_trials_again(most_of_it, alphacl, tmp_path):
    (best,) = best_of(most_of_it.folder.record)
    groups = {}
    for trial in most_of_it.folder.record.trials():
        if trial.status == "finished":
            groups.setdefault((trial.config["objective"], trial.config["tau"]), []).append(trial.metrics["val/linear"])
    means = {key: sum(values) / 2 for key, values in groups.items() if len(values) == 2}
    assert (best.config["objective"], best.config["tau"]) == max(means, key=means.get)
    assert best.cell("val/linear").mean == pytest.approx(max(means.values()))
    assert best.among == 5
    spec = read_spec(Document(to_yaml(most_of_it.folder.record, best), "best.yaml"))
    assert {leaf.digest for leaf in spec.leaves()} == {t.digest for t in best.trials}

    code, out, _ = alphacl("best", "s", "--storage", tmp_path / "runs")
    assert code == 0
    assert "over 2 seeds, the best of 5 by val/linear" in out.splitlines()[0]
    assert out.splitlines()[1].startswith("  python -m trainer --dataset digits --objective ")
    assert alphacl("best", "s", "--yaml", "--storage", tmp_path / "runs")[1] == to_yaml(most_of_it.folder.record, best)
    code, _, err = alphacl("best", "s", "--dataset", "digit", "--storage", tmp_path / "runs")
    assert (code, "did you mean 'digits'?" in err) == (2, True)


@pytest.mark.slow
def test_trials_and_epochs_are_frames_and_files(most_of_it, alphacl, tmp_path):
    loaded = results.load(most_of_it.folder.path)
    table = loaded.frame()
    assert list(table["digest"]) == most_of_it.digests
    assert list(table["status"].value_counts()) == [9, 1]
    by_digest = {t.digest: t for t in loaded.trials()}
    for row in table[table["status"] == "finished"].to_dict("records"):
        trial = by_digest[row["digest"]]
        assert (row["test/linear"], row["tau"], row["epoch"]) == (
            pytest.approx(trial.metrics["test/linear"]),
            trial.config["tau"] if trial.config["tau"] is not None else pytest.approx(float("nan"), nan_ok=True),
            3,
        )
    epochs = loaded.frame(per="epoch")
    assert len(epochs) == 9 * 4 + 2
    assert list(epochs["epoch"][:4]) == [0, 1, 2, 3]

    out = alphacl("trials", "s", "--storage", tmp_path / "runs")[1]
    assert len(pandas.read_csv(io.StringIO(out))) == 10
    file = tmp_path / "epochs.parquet"
    assert alphacl("trials", "s", "--per", "epoch", "--format", "parquet", "--out", file, "--storage", tmp_path / "runs")[0] == 0
    assert pandas.read_parquet(file)["val/linear"].tolist() == epochs["val/linear"].tolist()
    code, _, err = alphacl("trials", "s", "--format", "parquet", "--storage", tmp_path / "runs")
    assert (code, "give a file by --out" in err) == (2, True)
