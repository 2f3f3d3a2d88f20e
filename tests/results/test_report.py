import base64
import hashlib
import html
import html.parser
import json
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
    source = root / "s" / "plugins" / "mine-0123abcd" / "mine.py"
    source.parent.mkdir(parents=True)
    source.write_text(f"# the source of 'mine' {EVIL}\n")
    return root


def test_the_source_of_plug_ins_is_shown_as_text_and_no_link_is_followed(storage, tmp_path):
    folder = storage / "s" / "plugins" / "mine-0123abcd"
    (tmp_path / "secret.py").write_text("a secret")
    (folder / "linked.py").symlink_to(tmp_path / "secret.py")
    (folder.parent / "elsewhere").symlink_to(tmp_path)
    (folder / "large.py").write_bytes(b"#" * (1 << 17))
    text = build_report(open_sweep(storage, "s"))
    assert html.escape("# the source of 'mine' <script>", quote=True).replace("&#x27;", "&#39;") in text
    assert "<script>alert(1)" not in text
    assert "a secret" not in text
    assert "not shown: expected a file of at most" in text


def test_the_page_stands_alone_and_its_links_lead_somewhere(storage):
    text = build_report(open_sweep(storage, "s"))
    page = Page(text)
    assert set(page.addresses) <= {"data:image/png"}
    assert not re.search(r"url\((?!#)|@import|//[a-z]", re.sub(r"<(pre|script)>.*?</\1>", "", text, flags=re.DOTALL))
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= {f"#{i}" for i in page.ids}
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # the page's own script and no other
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
        "3 of 100",
        "Stopped early, with the last figures that each has reported",
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
    assert text.index("these are its results") < text.index("what the search tried")


def test_a_search_by_knn_is_compared_by_knn(sweep, figures):
    values = (("infonce", 0.1, 80.0), ("infonce", 0.5, 82.0), ("direct", 0.1, 85.0), ("direct", 0.5, 70.0))
    entries = [
        ({"objective": o, "tau": t, "seed": s}, figures(v + s + 0.1 * (o == "direct" and s == 2), **{"val/knn": v}))
        for o, t, v in values
        for s in range(3)
    ]
    text = re.sub(
        r"<[^>]*>", "", build_report(open_sweep(sweep(entries, yaml="search: {metric: val/knn}\n", kind="search"), "s"))
    )
    assert "Chosen by val/knn, direct, tau 0.1 is best: 85.03 ± 1.05 % test/knn over 3 seeds, +3.03 points" in text
    assert "In test/knn" in text
    references = set(re.findall(r"the difference in (\S+) to (infonce, tau \S+) \(", text))
    assert references == {("test/knn", "infonce, tau 0.5")}


def test_a_search_shows_what_mattered_and_every_configuration(sweep, figures):
    taus = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
    entries = [({"tau": t, "lr": lr}, figures(60 + 10 * t + 100 * lr)) for t in taus for lr in (1e-4, 1e-2)]
    text = build_report(open_sweep(sweep(entries, kind="search"), "s"))
    assert "Importance of the settings" in text
    assert "as lines through their settings to val/linear" in text
    assert "<title>infonce, tau 1.6, lr 0.01: val/linear 78.00</title>" in text


def test_several_sweeps_are_chapters_of_one_page(storage, sweep, figures, tmp_path):
    other = [({"objective": o, "seed": s}, figures(v)) for o, v in (("infonce", 70.0), ("uniform", 71.0)) for s in (0, 1)]
    sweep(other, name="other", storage=storage)
    out = tmp_path / "both.html"
    assert main(["--sweep", "s", "other", "--storage", str(storage), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= {f"#{i}" for i in page.ids}
    overview = text[text.index("What each sweep chose") : text.index("<main>")]
    assert 'direct(p=4), tau 0.5</td><td class="t">test/linear</td><td>66.00 ± 1.00' in overview
    assert 'uniform</td><td class="t">test/linear</td><td>71.00 ± 0.00' in overview
    assert main(["--sweep", "s", "other", "--storage", str(storage), "--join", "x"]) == 2


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
def test_in_a_browser_nothing_is_cut_and_tables_are_sorted(storage, tmp_path):
    """Real Chromium at 1200 px, where no table scrolls in its box, and on a telephone, where only boxes do."""
    page = build_report(open_sweep(storage, "s"))
    probe = """<script>
        const cut = [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth).length;
        const table = document.querySelector(".scroll table"), heads = [...table.querySelectorAll("thead th")];
        const column = heads.findIndex((head) => head.textContent === "test/linear"), seen = [];
        for (let click = 0; click < 2; click++) {
            heads[column].click();
            seen.push(table.tBodies[0].rows[0].cells[column].textContent);
        }
        document.title = JSON.stringify({width: document.documentElement.scrollWidth, window: innerWidth, cut, seen});
    </script></body>"""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", probe)
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    for width in (1200, 500):
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += f" --disable-component-update --disable-sync --hide-scrollbars --user-data-dir={tmp_path / 'profile'}"
        command = ["chromium", *flags.split(), f"--window-size={width},900", "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = json.loads(html.unescape(re.search(r"<title>(\{.*?\})</title>", done.stdout)[1]))
        assert found["window"] == width
        assert found["width"] <= width
        assert found["seen"] == ["30.00 ± 0.00", "66.00 ± 1.00"]
        assert found["cut"] == 0 or width == 500


def test_the_page_of_a_large_search_is_short_and_a_csv_beside_it_has_all(sweep, figures, tmp_path, capsys):
    history = [{"epoch": 0, "val/linear": 29.0}, {"epoch": 100, "val/linear": 50.0}]
    sizes = []
    for count in (140, 420):
        draw = [figures(20.0 + 60 * ((7 * number) % count) / count, history=history) for number in range(count)]
        entries = [({"objective": "square", "tau": 0.1 + number / 1000}, draw[number]) for number in range(count)]
        entries += [({"objective": "uniform", "seed": number}, "out of memory") for number in range(count)]
        storage = sweep(entries, f"s{count}", kind="search", yaml="search: {sampler: random}")
        out = tmp_path / f"{count}.html"
        assert main(["--sweep", f"s{count}", "--storage", str(storage), "--out", str(out)]) == 0
        assert f"wrote {tmp_path / f'{count}.csv'}, with all configurations" in capsys.readouterr().out
        text = out.read_text()
        page = Page(text)
        assert set(page.links) <= {f"#{i}" for i in page.ids}, "no row links to runs that are left out"
        assert f"their configurations in <code>{count}.csv</code>" in text
        rows = (tmp_path / f"{count}.csv").read_text().splitlines()
        assert len(rows) == 1 + 1 + count + 1
        sizes.append(len(text))
    assert sizes[1] < 1.2 * sizes[0], "the page of three times the trials is no longer"
