import pytest

from results.record.reader import open_sweep
from results.tables.model import PublishedScore
from results.tables.paper import load_paper, paper_tables
from results.tables.render import to_markdown
from trainer import UserError

SETTINGS = {"epochs": 500, "read_at": [100, 300]}


def entries(figures, dataset, objective, values, seeds=3, **more):
    history = [{"epoch": 0, "val/linear": 29.0}] + [
        {"epoch": e, "test/linear": v, "test/linear_paper": v + 1} for e, v in zip((100, 300), values, strict=False)
    ]
    settings = {"dataset": dataset, "objective": objective, **SETTINGS, **more}
    last = {"test/linear_paper": values[2] + 2, "history": history}
    return [({**settings, "seed": s}, figures(values[2] + s, **last)) for s in range(seeds)]


def test_the_papers_layout_and_the_difference(sweep, figures):
    storage = sweep(
        [
            *entries(figures, "cifar10", "infonce", (80.0, 85.0, 86.0)),
            *entries(figures, "cifar10", "direct", (81.0, 86.0, 87.0)),
            *entries(figures, "stl10", "infonce", (70.0, 75.0, 76.0), seeds=2),
        ]
    )
    honest, paper = paper_tables(open_sweep(storage, "s"))
    assert honest.columns == [f"{d} @{e}" for d in ("cifar10", "stl10") for e in (100, 300, 500)]
    by = {r.settings["objective"]: r for r in honest.rows}
    assert by["infonce"].cells["cifar10 @100"].values == (80, 80, 80)
    assert by["infonce"].cells["stl10 @500"].values == (76, 77)
    assert by["direct"].paper["cifar10 @300"] == PublishedScore(88.00, 0.12)  # its default is p = 4
    assert by["direct"].cells["stl10 @100"].values == ()
    assert paper.rows[0].cells["cifar10 @100"].mean == 81  # the paper's own probe
    text = to_markdown([honest])
    assert "88.00 ± 0.12 (−2.00)" in text
    assert "UNVERIFIED TRANSCRIPTION" in text
    assert honest.marks("cifar10 @100")[honest.rows.index(by["direct"])] == "best"


def test_a_short_run_is_not_a_long_one_read_early(sweep, figures):
    short = [({"dataset": "cifar10", "epochs": 100, "seed": s}, figures(60.0)) for s in (0, 1)]
    (table, _) = paper_tables(open_sweep(sweep([*entries(figures, "cifar10", "infonce", (80.0, 85.0, 86.0)), *short]), "s"))
    rows = [r for r in table.rows if r.kind == "trial"]
    assert [(r.settings["epochs"], r.cells["cifar10 @100"].values) for r in rows] == [(500, (80, 80, 80)), (100, (60, 60))]


def test_what_no_run_reads_is_said_with_the_command(sweep, figures):
    storage = sweep([({"dataset": "cifar10", "epochs": 100, "tau": 0.1}, figures(60.0))])
    (table,) = paper_tables(open_sweep(storage, "s"))
    assert any(
        "cifar10 @300, cifar10 @500: no finished run reads these epochs; `alphacl sweep paper_table2`" in n for n in table.notes
    )
    assert any("the paper's reading" in n and "probe=paper" in n for n in table.notes)
    assert not any(r.paper for r in table.rows)  # another temperature than the paper's
    assert not any("infonce" in n and "*" in n for n in table.notes)


def test_the_shipped_figures_say_that_they_are_unverified():
    paper = load_paper()
    assert not paper.verified
    assert paper.figures["cifar10", "infonce", 500] == PublishedScore(87.86, 0.12)
    assert paper.figures["stl10", "inverse(k=1)", 100] == PublishedScore(78.22, 0.28)
    assert len(paper.figures) == 3 * (7 + 7 + 2)


def test_a_damaged_file_of_figures(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("verified: true\nsource: x\nepochs: [1]\ncifar10: {nonsense: [[1, 2]]}\n")
    with pytest.raises(UserError, match="expected verified, source, epochs"):
        load_paper(file)
