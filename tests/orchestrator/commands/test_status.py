"""Tests of the lines that ``alphacl status`` prints."""

from orchestrator.commands.status import _say

LINE = "  laplace: 7 done, 2 failed; best val/knn 65.56 (laplace(beta=2.421) · tau 0.5388, mean of 3 seeds)"


def test_a_terminal_gets_lines_wrapped_between_words_and_a_file_one_line(monkeypatch, capsys):
    _say(LINE)
    assert capsys.readouterr().out == LINE + "\n"
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _say(LINE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).split() == LINE.split()
    assert lines[1].startswith("      ")
