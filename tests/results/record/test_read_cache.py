"""The read cache: nothing is read twice, and no figure changes, whatever happens to the files or to the cache."""

import concurrent.futures
import json
import os
import random
import shutil
import time

import pytest

from results.record import read_cache, schema
from results.record.reader import open_sweep
from results.tables.render import to_markdown
from results.tables.sweep import sweep_tables
from trainer.files import checksum, write_json

N = 12


@pytest.fixture
def storage(sweep, figures, tmp_path, monkeypatch):
    """A sweep of finished, stopped, failed and waiting trials, large enough for a cache, whose folder is ``tmp_path/cache``."""
    monkeypatch.setattr(read_cache, "LEAST", 4)
    monkeypatch.setattr(read_cache, "SETTLED_NS", -1)
    monkeypatch.setenv("ALPHACL_READ_CACHE", str(tmp_path / "cache"))
    rows = [{"epoch": epoch, "val/linear": 40.0 + epoch} for epoch in (0, 2, 5, 10)]
    outcomes = [*(figures(50.0 + seed / 7, history=rows) for seed in range(N - 3)), "boom", 3, None]
    made = sweep([({"seed": seed, "epochs": 10, "read_at": (5,)}, outcome) for seed, outcome in enumerate(outcomes)])
    for file in made.glob("s/trials/*/result.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "version": 2, "checksum": checksum(record | {"version": 2})}))
    return made


def told(storage):
    """Everything that a sweep's trials tell, and its tables."""
    record = open_sweep(storage, "s")
    names = ("digest", "index", "role", "status", "problem")
    facts = ("config", "metrics", "environment", "history", "reports", "result", "error", "stopped", "label", "is_sealed")
    trials = [
        {name: getattr(t, name) for name in names}
        | ({} if t.problem else {name: getattr(t, name) for name in facts} | {"rows": [t.metrics_at(e) for e in (0, 2, 5, 7)]})
        for t in record.trials()
    ]
    return trials, to_markdown(sweep_tables(record))


def told_without(storage):
    """The same by a reader that keeps nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHACL_READ_CACHE", "")
        return told(storage)


def files_read(storage, monkeypatch):
    """The files that are opened where all trials are read."""
    opened, read = [], schema.read_noting
    with monkeypatch.context() as patch:
        patch.setattr(schema, "read_noting", lambda path, *rest: (opened.append(str(path)), read(path, *rest))[1])
        open_sweep(storage, "s").trials()
    return [path for path in opened if "/trials/" in path and "/attempt-" not in path and os.path.exists(path)]


# ------------------------------------------------------------------------------------------- what happens to files


def edit(result, draw):
    """Write another figure, with a checksum that fits."""
    record = json.loads(result.read_text())
    record["metrics"]["test/linear"] = round(draw.uniform(40, 60), 3)
    write_json(result, {**record, "checksum": checksum(record)})


def edit_in_place_and_put_the_times_back(result, draw):
    """Swap two digits in a file that keeps its size, its inode and its time of modification."""
    before, text = result.stat(), result.read_text()
    result.write_text(text.replace("4", "x").replace("5", "4").replace("x", "5"))
    os.utime(result, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert result.stat().st_size == before.st_size


def damage(result, draw):
    """Cut a file short."""
    result.write_bytes(result.read_bytes()[: draw.randrange(300)])


def remove(result, draw):
    """Remove a result."""
    result.unlink()


def remove_trial(result, draw):
    """Remove a trial."""
    shutil.rmtree(result.parent)


def swap(result, draw):
    """Put a result into the place of another trial's."""
    other = draw.choice([file for file in result.parents[1].glob("*/result.json") if file != result])
    scratch = result.with_name("scratch")
    other.rename(scratch)
    result.rename(other)
    scratch.rename(result)


def link(result, draw):
    """Put a link to the same content in a file's place."""
    result.rename(result.with_name("kept"))
    result.symlink_to("kept")


def reconfigure(result, draw):
    """Change a configuration after its trial has finished."""
    config = result.with_name("config.json")
    config.write_text(config.read_text().replace('"epochs": 10', '"epochs": 11'))


def touch(result, draw):
    """Change no content."""
    os.utime(result)


CHANGES = (edit, edit_in_place_and_put_the_times_back, damage, remove, remove_trial, swap, link, reconfigure, touch)


def test_no_figure_changes_whatever_happens_to_the_files(storage, monkeypatch, seed):
    draw = random.Random(seed)
    assert told(storage) == told_without(storage)
    assert files_read(storage, monkeypatch) == [], "nothing is opened again"
    for change in draw.sample(CHANGES, len(CHANGES)):
        finished = sorted(file for file in storage.glob("s/trials/*/result.json") if not file.is_symlink())
        chosen = draw.choice(finished)
        time.sleep(0.01)  # beyond a tick of the file system's clock
        print(change.__name__, chosen.parent.name)
        change(chosen, draw)
        expected = told_without(storage)
        assert told(storage) == expected
        assert told(storage) == expected
    assert len(files_read(storage, monkeypatch)) < N, "what was not touched is still known"


def test_a_cache_that_cannot_be_believed_is_none(storage, tmp_path, monkeypatch, seed):
    draw, expected = random.Random(seed), told(storage)
    (cache,) = (tmp_path / "cache").iterdir()
    whole = cache.read_bytes()
    forged = whole.replace(b"50.0", b"99.0")
    assert forged != whole
    flipped = bytearray(whole)
    flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    for content in (
        b"",
        b"\n",
        b"{}",
        whole[: draw.randrange(len(whole))],
        bytes(flipped),
        forged,
        draw.randbytes(500),
        whole * 2,
    ):
        cache.write_bytes(content)
        assert told(storage) == expected
        assert cache.read_bytes() == whole, "it is made anew"
    with monkeypatch.context() as patch:
        patch.setattr(read_cache, "_code", lambda: "what other code has let pass")
        assert len(files_read(storage, monkeypatch)) > N
    told(storage)
    cache.chmod(0o666)  # others could have written it
    assert len(files_read(storage, monkeypatch)) > N
    cache.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    cache.symlink_to(tmp_path / "elsewhere")
    assert len(files_read(storage, monkeypatch)) > N
    assert told(storage) == expected


def test_the_cache_of_another_sweep_says_nothing(storage, tmp_path, monkeypatch):
    told(storage)
    (tmp_path / "copy").mkdir()
    shutil.copytree(storage / "s", tmp_path / "copy" / "s")
    (cache,) = (tmp_path / "cache").iterdir()
    for file in (tmp_path / "copy").glob("s/trials/*/result.json"):
        edit(file, random.Random(file.parent.name))
    expected = told_without(tmp_path / "copy")
    assert told(tmp_path / "copy") == expected
    (other,) = (file for file in (tmp_path / "cache").iterdir() if file != cache)
    other.write_bytes(cache.read_bytes())
    assert told(tmp_path / "copy") == expected


def test_where_no_cache_can_be_written_none_is(storage, tmp_path, monkeypatch):
    expected = told_without(storage)
    assert not (tmp_path / "cache").exists(), "an empty name asks for none"
    (tmp_path / "file").write_text("")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none", shared, tmp_path / "link"):
        monkeypatch.setenv("ALPHACL_READ_CACHE", str(place))
        assert told(storage) == expected
        assert not any(any(place.iterdir()) for place in (shared, tmp_path / "mine"))
    monkeypatch.setenv("ALPHACL_READ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(read_cache, "LEAST", N + 1)
    assert told(storage) == expected
    assert not (tmp_path / "cache").exists(), "few trials are read faster than a cache is"


def test_readers_at_once_and_files_that_have_just_changed(storage, tmp_path, monkeypatch):
    expected = told_without(storage)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: told(storage), range(12)))
    assert all(one == expected for one in found)
    (cache,) = (tmp_path / "cache").iterdir()  # and no scratch
    cache.unlink()
    monkeypatch.setattr(read_cache, "SETTLED_NS", 3_600_000_000_000)
    assert told(storage) == expected
    assert list((tmp_path / "cache").iterdir()) == [], "what may change again within a tick of the clock is not kept"


def test_the_caches_that_were_used_last_stay(storage, tmp_path, monkeypatch):
    told(storage)
    (cache,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(read_cache, "MOST_OF_ALL", 2 * cache.stat().st_size)
    for number in range(3):
        old = tmp_path / "cache" / f"old{number}"
        old.write_bytes(cache.read_bytes())
        os.utime(old, (number, number))
    cache.unlink()
    told(storage)
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == sorted([cache.name, "old2"])
