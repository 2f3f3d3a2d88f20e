import csv
import html.parser
import io
import shutil
import subprocess

import pytest

from results.record.reader import open_sweep
from results.tables.latex import tex
from results.tables.model import Cell, Row, Table
from results.tables.paper import paper_tables
from results.tables.render import (
    html_table,
    markdown,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from results.tables.sweep import sweep_tables

NASTY = r"a&b_c%d<e>f$g#h{i}j~k^l\m|n*o`p[q]r é α 数据 '\"--"


def nasty_table():
    row = Row({"objective": NASTY, "tau": 0.5}, 2, 2, {"test/linear": Cell((50.0, 51.0), (0, 1))})
    other = Row({"objective": "[x]*", "tau": None}, 2, 2, {"test/linear": Cell((40.0, 41.0), (0, 1))})
    return Table(
        NASTY, ["objective", "tau"], ["test/linear"], [row, other], NASTY, [NASTY.replace("g", " "), "* and [k] first", "a --b"]
    )


class Reader(html.parser.HTMLParser):
    """The texts and the tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


def test_html_escapes():
    reader = Reader(to_html([nasty_table()]))
    assert reader.texts.count(NASTY) == 1
    assert NASTY.replace("g", " ") in reader.texts
    known = "html head meta title style body h1 p h2 div table thead tr th tbody td b span ul li"
    assert set(reader.tags) <= set(known.split(" "))
    assert "href='&quot;&gt;&lt;x'" in html_table(nasty_table(), lambda row: '"><x').replace("&#x27;", "'")


def test_markdown_escapes():
    text = to_markdown([nasty_table()])
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert row.replace("\\|", "").count("|") == 5
    assert markdown("soft_triplet _x_ <b>") == r"soft_triplet \_x\_ \<b\>"


def test_csv_reads_back():
    (first, _) = csv.DictReader(io.StringIO(to_csv([nasty_table()])))
    assert (first["objective"], float(first["test/linear mean"]), first["expected"]) == (NASTY, 50.5, "2")


def test_tex_escapes():
    assert tex(r"\_&%$#{}~^") == r"\textbackslash{}\_\&\%\$\#\{\}\textasciitilde{}\textasciicircum{}"
    assert tex("α é 数 – --set -1.5 a-b") == r"$\alpha$ e U+6570 \textendash{} -{}-set $-$1.5 a-b"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
def test_latex_compiles(sweep, figures, tmp_path):
    paper = {"epochs": 500, "read_at": [100, 300]}
    history = [{"epoch": e, "test/linear": 80.0 + e / 100} for e in (100, 300)]
    entries = [
        ({"dataset": d, "objective": o, "seed": s, **paper}, figures(86.0 + s, history=history))
        for d in ("cifar10", "stl10")
        for o in ("infonce", "direct(p=4)", "uniform")
        for s in range(3)
    ]
    entries.append(({"dataset": "stl10", "objective": "square", **paper}, r"100 % of \foo_bar & more"))
    record = open_sweep(sweep(entries, yaml="x: 1"), "s")
    body = to_latex([*sweep_tables(record), *paper_tables(record), nasty_table()])
    document = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + body + "\\end{document}"
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "t.pdf").stat().st_size > 10_000
