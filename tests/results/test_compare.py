import pytest

from results.compare import compare_sweeps, main
from results.record.reader import open_sweep
from trainer import UserError


def test_two_sweeps_side_by_side(sweep, figures, tmp_path, capsys):
    first = [({"seed": s, "epochs": 5}, figures(50.0 + s, environment={"torch": "2.14"})) for s in range(3)]
    first += [({"seed": 0, "epochs": 5, "objective": "uniform"}, figures(40.0, environment={"torch": "2.14"}))]
    second = [({"seed": s, "epochs": 9}, figures(51.0 + 2 * s, environment={"torch": "2.15"})) for s in range(3)]
    sweep(first, "a")
    sweep(second, "b")
    (table,), differing = compare_sweeps(*(open_sweep(tmp_path, n) for n in "ab"))
    assert {(d.name, d.first, d.second) for d in differing} == {("epochs", "5", "9"), ("torch", "2.14", "2.15")}
    (row,) = table.rows
    found = row.against["test/linear, b"]
    assert (found.difference, found.test) == (2, "paired t")  # differences 1, 2, 3
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert "Only in a: uniform (digits)." in table.notes
    assert main(["a", "b", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| epochs | 5 | 9 |" in out
    assert "+2.00 (p 0.074)" in out


def test_the_same_name_in_two_storages(sweep, figures, tmp_path, capsys):
    for place, value in (("x", 50.0), ("y", 60.0)):
        sweep([({"seed": 0}, figures(value))], storage=tmp_path / place)
    assert main([str(tmp_path / "x" / "s"), str(tmp_path / "y" / "s")]) == 0
    out = capsys.readouterr().out
    assert f"(A: {tmp_path}/x)" in out
    assert "+10.00 (no test)" in out
    assert "no test: 1 seed: a test needs 3." in out


def test_equal_sweeps_have_no_test_and_the_reason_is_said(sweep, figures, tmp_path, capsys):
    for name in "ab":
        sweep([({"seed": s}, figures(50.0 + s)) for s in range(3)], name)
    assert main(["a", "b", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Settings and environment are the same in both." in out
    assert "B − A: b minus a; no test: the same difference at every seed: its spread can't be estimated." in out


def test_nothing_in_common(sweep, figures, tmp_path, capsys):
    sweep([({"objective": "uniform"}, figures(50.0))], "a")
    sweep([({"objective": "mine"}, figures(50.0)), ({"objective": "mine", "lr": 0.1}, figures(50.0))], "b")
    with pytest.raises(UserError, match="no configuration in common"):
        compare_sweeps(*(open_sweep(tmp_path, n) for n in "ab"))
    sweep([({"dataset": "cifar10"}, figures(50.0))], "d")
    sweep([({"dataset": "digits"}, figures(50.0))], "e")
    with pytest.raises(UserError, match=r"no configuration in common; they differ in dataset \(cifar10 and digits\)"):
        compare_sweeps(*(open_sweep(tmp_path, n) for n in "de"))
    assert main(["a", "c", "--storage", str(tmp_path)]) == 2
    assert "no sweep 'c'" in capsys.readouterr().err


def test_the_command_draws_a_table_and_says_what_differs(sweep, figures, tmp_path, alphacl):
    for name, epochs in (("a", 5), ("b", 9)):
        sweep([({"seed": s, "epochs": epochs}, figures(50.0 + s)) for s in range(3)], name)
    code, out, _ = alphacl("compare", "a", "b", "--storage", tmp_path)
    assert code == 0
    assert "┃ test/linear, b ┃" in out
    assert "Differs: epochs: 5 and 9." in out
    assert "| epochs | 5 | 9 |" in alphacl("compare", "a", "b", "--storage", tmp_path, "--format", "md")[1]
