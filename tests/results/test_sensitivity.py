import pytest

from results.plots.figures import sensitivity
from results.record.reader import open_sweep
from results.sensitivity import main
from results.tables.series import series_of
from trainer import UserError


@pytest.fixture
def storage(sweep, figures):
    entries = [
        ({"objective": o, "tau": t, "seed": s}, figures(50.0 + 10 * t + s))
        for o in ("infonce", "direct", "direct(p=2)")
        for t in (0.1, 0.5)
        for s in (0, 1)
    ]
    return sweep([*entries, ({"objective": "uniform"}, figures(45.0))])


def test_series_over_tau(storage):
    found = {s.label: s for s in series_of(open_sweep(storage, "s").trials(), "tau", "test/linear")}
    assert [(v, c.values) for v, c in found["direct"].points] == [(0.1, (51, 52)), (0.5, (55, 56))]
    assert found["direct(p=2)"].family == "direct"
    assert [v for v, _ in found["uniform"].points] == [None]


def test_series_over_an_objectives_own_hyper_parameter(storage):
    found = [s for s in series_of(open_sweep(storage, "s").trials(), "p", "test/linear") if s.points[0][0] is not None]
    assert [(s.label, [v for v, _ in s.points]) for s in found] == [("direct, tau 0.1", [2, 4]), ("direct, tau 0.5", [2, 4])]


def test_unlike_runs_share_no_series(sweep, figures):
    trials = open_sweep(sweep([({"tau": 0.1, "epochs": e}, figures(50.0)) for e in (5, 10)]), "s").trials()
    assert [s.label for s in series_of(trials, "tau", "test/linear")] == ["infonce, epochs 5", "infonce, epochs 10"]


def test_the_picture_holds_the_means_and_the_band(storage):
    trials = open_sweep(storage, "s").trials()
    made = sensitivity(series_of(trials, "tau", "test/linear"), trials, "tau", "test/linear")
    axis = next(a for a in made.axes if a.get_title() == "infonce")
    assert list(axis.lines[0].get_ydata()) == [51.5, 55.5]
    low, high = (f(axis.collections[0].get_paths()[0].vertices[:, 1]) for f in (min, max))
    assert (low, high) == (pytest.approx(51.5 - 0.5**0.5), pytest.approx(55.5 + 0.5**0.5))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command(storage, tmp_path, capsys, suffix):
    out = tmp_path / f"x.{suffix}"
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(out)]) == 0
    assert "| direct | direct(p=2) | 0.5 | 2 | 55.50 ± 0.71 |" in capsys.readouterr().out
    assert out.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_bad_input(storage, tmp_path, capsys):
    with pytest.raises(UserError, match=r"--over nonsense: no finished trial has nonsense .*known: .*lr, p.*tau"):
        series_of(open_sweep(storage, "s").trials(), "nonsense", "test/linear")
    with pytest.raises(UserError, match="expected a hyper-parameter that is a number, got schedule='cosine'"):
        series_of(open_sweep(storage, "s").trials(), "schedule", "test/linear")
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(tmp_path / "x.gif")]) == 2
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(tmp_path / "no" / "x.png")]) == 2
    assert capsys.readouterr().err.endswith("cannot write " + str(tmp_path / "no" / "x.png") + ": No such file or directory\n")
