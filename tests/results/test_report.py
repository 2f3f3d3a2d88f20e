import html.parser
import re
import shutil
import subprocess

import pytest

from results.record.lookup import find_sweep
from results.record.reader import open_sweep
from results.report import build_report, main
from trainer import UserError

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script> & <b>"


class Page(html.parser.HTMLParser):
    """A page's ids, links within it, and whatever else it points to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.addresses, self.tags, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "srcset", "data", "action", "xlink:href"):
                (self.links if value.startswith("#") else self.addresses).append(value.partition(";base64")[0])


@pytest.fixture
def storage(sweep, figures):
    epochs = {e: {"val/linear": 30.0 + e / 10, "val/knn": 20.0 + e / 10} for e in (0, 1, 100)}
    curve = [{"epoch": e, **row, "alpha/effective_negatives": 9.0} for e, row in epochs.items()]
    entries = [
        ({"objective": o, "tau": t, "seed": s}, figures(v + s + 10 * t, history=curve))
        for o, v in (("infonce", 50.0), ("direct(p=4)", 60.0), ("square", 40.0))
        for t in (0.1, 0.5)
        for s in range(3)
    ]
    more = [({"objective": "uniform"}, EVIL), ({"objective": "uniform", "seed": 1}, 3), ({"objective": "mine"}, figures(99.0))]
    root = sweep([*entries, *more], yaml=f"description: '{EVIL}'\n", environment={"commit": "abc+", "torch": "2"})
    damaged = next(t for t in open_sweep(root, "s").trials() if t.config["objective"] == "mine").folder / "result.json"
    damaged.write_text(damaged.read_text()[:60])
    return root


def test_the_page_stands_alone_and_its_links_lead_somewhere(storage):
    text = build_report(open_sweep(storage, "s"))
    page = Page(text)
    assert set(page.addresses) <= {"data:image/png"}
    assert not re.search(r"url\((?!#)|@import|//[a-z]", re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL))
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= {f"#{i}" for i in page.ids}
    assert "script" not in page.tags
    assert text.count("&lt;script&gt;") >= 2  # the description and the failure's reason
    used = set(re.findall(r"url\(#([^)]*)\)", text))
    assert used <= set(page.ids)


def test_every_figure_leads_to_its_runs(storage):
    record = open_sweep(storage, "s")
    text = build_report(record)
    address = re.search(r"<a href='#(run-\d+)'><b>66\.00 ± 1\.00</b>", text)[1]
    group = text[text.index(f'id="{address}"') :].partition("</tbody>")[0]
    mine = [t.digest for t in record.trials() if (t.config["objective"], t.config["tau"]) == ("direct(p=4)", 0.5)]
    assert len(mine) == 3
    for digest in mine:
        assert digest in group
    assert "abc" in group
    assert "cpu: x, float32" in group


def test_what_the_page_says(storage):
    text = re.sub(r"<[^>]*>", "", build_report(open_sweep(storage, "s")))
    for words in (
        "18 of 21 trials finished; 1 failed, 1 stopped early, 1 damaged",
        "direct(p=4), tau 0.5 is best: 66.00 ± 1.00 % test/linear over 3 seeds, +10.00 points from InfoNCE",
        "The untrained encoder reaches 30.00 ± 0.00 %",
        "stopped early at epoch 3",
        "result.json is damaged",
        "git checkout abc   # the sources had been edited since",
        "Student's paired t over seeds",
    ):
        assert words.replace("'", "&#39;") in text or words in text, words


def test_a_report_of_a_search_with_confirmed_winners(sweep, figures):
    entries = [({"tau": t}, figures(v)) for t, v in ((0.1, 80.0), (0.5, 85.0))]
    entries += [({"tau": 0.5, "seed": s, "role": "confirm"}, figures(82.0 + s)) for s in (1, 2, 3)]
    text = re.sub(r"<[^>]*>", "", build_report(open_sweep(sweep(entries, kind="search", trials=2), "s")))
    assert "Selection effect: on fresh seeds val/linear is −1.00 points" in text
    assert "All 5 trials finished" in text
    assert "confirmed with fresh seeds" in text


def test_the_command(storage, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(out)]) == 0
    assert out.read_text().startswith("<!doctype html>")
    assert main(["--sweep", "s", "--storage", str(storage), "--out", str(tmp_path / "no" / "r.html")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_an_empty_sweep_and_a_folder_of_records(sweep, figures, tmp_path):
    with pytest.raises(UserError, match="has no finished trial yet"):
        build_report(open_sweep(sweep([({}, None)], "empty"), "empty"))
    storage = sweep([({"seed": 0}, figures(50.0))])
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "a.json").write_text(next((storage / "s" / "trials").glob("*/result.json")).read_text())
    assert "JSON records of single runs" in build_report(find_sweep(tmp_path, str(folder)))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_in_a_browser_nothing_is_wider_than_the_page(storage, tmp_path):
    """The page's own width in real Chromium, at 1000 px and on a telephone; tables may scroll inside their boxes."""
    page = build_report(open_sweep(storage, "s"))
    probe = "<script>document.title = document.documentElement.scrollWidth + ' in ' + innerWidth</script></body>"
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", probe)
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    for width in (1000, 500):
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += f" --disable-component-update --disable-sync --hide-scrollbars --user-data-dir={tmp_path / 'profile'}"
        command = ["chromium", *flags.split(), f"--window-size={width},900", "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        wide, window = map(int, re.search(r"<title>(\d+) in (\d+)</title>", done.stdout).groups())
        assert window == width
        assert wide <= window
