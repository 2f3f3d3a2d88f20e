from results.record.naming import trial_label
from results.record.reader import read_reports


def test_reports_survive_a_crash_in_the_middle_of_a_line_and_a_rerun(tmp_path):
    file = tmp_path / "reports.jsonl"
    file.write_text('{"epoch": 0, "x": 1}\n{"epoch": 1, "x": 2}\n{"epoch": 1, "x": 3}\n{"epoch": 2, "x"')
    assert read_reports(file) == [{"epoch": 0, "x": 1}, {"epoch": 1, "x": 3}]
    assert read_reports(tmp_path / "none") == []


def test_labels():
    assert trial_label({"objective": "direct(p=4)", "tau": 0.5, "seed": 0}) == "direct(p=4) · tau 0.5 · seed 0"
    assert trial_label({"objective": "uniform", "tau": None, "seed": 3}) == "uniform · seed 3"
