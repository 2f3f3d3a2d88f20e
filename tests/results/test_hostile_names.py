"""Names that are orders elsewhere: every format shows them as text, and no terminal takes them for more."""

import csv
import html.parser
import io
import json
import os
import re
import subprocess
import sys

import pytest

from results.record.reader import open_sweep
from results.report import build_report
from results.table import sweep_table
from results.tables.render import csv_cell, markdown_note
from trainer.terminal import complain, harmless_output, printable

HOSTILE = (
    "folder:/x/<script>alert(1)</script><img src=x onerror=alert(1)>|`id`[a](http://b)![c](http://d)$\\input{/etc/passwd}_^&%#~"
)
CELLS = ("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)")


@pytest.fixture
def hostile(sweep, figures):
    """A sweep whose data set and settings have names of that kind."""
    storage = sweep([({"seed": s, "dataset": HOSTILE, "tau": tau}, figures(50.0 + s)) for s in (0, 1) for tau in (0.1, 0.5)])
    for place, trial in enumerate(open_sweep(storage, "s").trials()):
        for name in ("config.json", "result.json"):
            content = json.loads((trial.folder / name).read_text())
            content["config"] |= {"note": CELLS[place], "=1+1": CELLS[-1 - place], "<b>key</b>": "[red]x[/]"}
            (trial.folder / name).write_text(json.dumps(content))
    return open_sweep(storage, "s")


class Tags(html.parser.HTMLParser):
    """All tags of a page, and its attributes' names."""

    def __init__(self, page):
        super().__init__()
        self.found, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html_holds_no_tag_of_theirs(hostile):
    for page in (sweep_table(hostile, "html"), build_report(hostile)):
        tags = Tags(page)
        assert "img" not in tags.found
        assert not {name for name in tags.attributes if name.startswith("on")}
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


def test_a_spreadsheet_computes_nothing(hostile):
    rows = list(csv.reader(io.StringIO(sweep_table(hostile, "csv"))))
    cells = [cell for row in rows for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    for cell in cells:
        assert not cell.startswith(("=", "+", "@")), cell
        assert not cell.startswith("-") or float(cell) < 0, cell
    assert csv_cell(-0.5) == -0.5
    assert csv_cell("infonce") == "infonce"


def test_latex_reads_no_file(hostile):
    text = sweep_table(hostile, "tex")
    assert r"\input{" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}" in text


def test_markdown_links_to_nothing_and_runs_nothing(hostile):
    text = sweep_table(hostile, "md")
    assert not re.search(r"(?<!\\)<(script|img)|\[[ac]\]\(|https?://", text)
    assert markdown_note("see `alphacl x` and <b> ![c](http://d) `` ` [k]") == (
        r"see `alphacl x` and \<b\> !\[c\](http\://d) \`\` \` \[k\]"
    )


def test_mlflows_description_holds_text_alone(hostile):
    from orchestrator.tracking.sweep_run import describe
    from results.tables.sweep import sweep_tables

    (hostile.folder / "sweep.yaml").write_text('description: "![c](http://d) <img src=x>"\nx: "```"\n')
    note = describe(open_sweep(hostile.folder.parent, "s"), hostile.trials(), sweep_tables(hostile), ["![e](http://f)"])
    text, _, space = note.partition("## Search space")
    assert re.match(r"\n\n````yaml\n.*\n````\n", space, re.DOTALL)
    assert not re.search(r"(?<!\\)<(script|img)|\[[ce]\]\(|https?://", text)


def test_a_terminal_is_told_nothing(capsys):
    hostile = "\x1b]0;title\x07\x1b[2J a\u202eb\x85\x00\ud800 α\n"
    assert printable(hostile) == r"\x1b]0;title\x07\x1b[2J a\u202eb\x85\x00\ud800 α\n"
    assert printable("a\nb\x1b[31m", lines=True) == "a\nb"
    assert printable("x" * 5000).endswith("x…")
    with harmless_output():
        print(hostile, end="")
        complain(f"error: {hostile}{'y' * 10_000}")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert out.endswith("\n")
    assert err.count("\n") == 1
    assert len(err) < 2100


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["spaces"], ["table", "s"], ["status", "s"]])
def test_a_terminal_without_unicode_gets_ascii(sweep, figures, words):
    storage = sweep([({"seed": s}, figures(50.0 + s)) for s in (0, 1)])
    more = [] if len(words) == 1 else ["--storage", str(storage)]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words, *more], capture_output=True, env=environment, check=False, cwd=os.getcwd()
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii")
    assert b"??" not in done.stdout
