"""Mutations of a sweep folder: what a careless hand, a broken disk or an attacker makes of its files, drawn from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ESCAPES = "\x1b[31mred\x1b]0;title\x07 \u202egnp.exe \u0085 \x00"
HOSTILE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 101, 0.5, 1e308, float("inf"), float("-inf"), float("nan"), 10**25, 2**63, "", "abc", "0",
    "inf", [], {}, [[]], [{}], {"a": {"b": []}}, [1, "a", None], ESCAPES, "../../../etc/passwd", "/etc/passwd",
    "../other/trials/x", "=cmd|' /C calc'!A0", "@SUM(1)", "<script>alert(1)</script>", "]]>", "{{7*7}}", "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`", "\\input{/etc/passwd}", "![x](http://127.0.0.1:9/x.png)", "[bold red]x[/]", "[/]", "a" * 100_000,
    "x\ny", "ä·τ–", "direct(p=4)", "alpha_of(" * 50, "infonce(eps=", "sqlite:////tmp/elsewhere.db", "attempt-0001",
    "attempt-9999", "attempt-0001/../..", "failed", "confirm", "records",
    "search", "2026-99-99", "0001-01-01T00:00:00", "folder:/dev", "%s%n",
    "d" * 16, "0" * 16,
)  # fmt: skip
RAW = (  # what no JSON writer makes
    b"", b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"[" * 100_000, b"{" + b'"a":{' * 3000, b'"' + b"x" * 1000, b"NaN", b"null",
    b"1" * 5000, b'{"digest": "\\ud800"}', b"\x00" * 100, b"{}" * 3, b"\x1f\x8b\x08", b"PK\x03\x04", b"[]", b'"text"', b"3",
    b'{"a": 1e999}', "{'kind': 'ä'}".encode("latin-1"),
)  # fmt: skip
MULTIPLYING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join(['*' + name] * 9)}]\n" for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = (
    MULTIPLYING, "a: &a [*a]\n", "description: !!bool maybe\n", "trial: {epochs: !!int ''}\n", "x: !!timestamp x\n",
    f"trial: {{seed: {'9' * 5000}}}\n", 'description: "\\ud800"\n', 'description: "\\e[31m"\n',
    "x: !!python/object/apply:os.system ['touch /tmp/pwned']\n", "[" * 5000, "search: {metric: 'test/linear@x'}\n",
    "search: {metric: [1]}\n", "search: 3\n", "description: [1, 2]\n", "keep_encoders: -3\n", "plugins: [os]\n", "&x", "*x",
    "? [a]\n: b\n", "{a: 1}: 2\n", "\x00", "- a\n", "x: 2026-99-99\n", "x: " + "1_" * 3000 + "\n",
    "search: {metric: " + "v" * 5000 + "}\n",
)  # fmt: skip


class Mutation:
    """One change of a sweep folder.

    Args:
        label: what is changed, for the message of a test that fails.
        apply: changes the folder.
    """

    def __init__(self, label: str, apply: Callable[[], None]) -> None:
        self.label, self.apply = label, apply


def draw(sweep: Path, seed: int) -> Mutation:
    """Return a mutation of a sweep's folder, the same for the same seed."""
    rng = random.Random(seed)
    files = sorted(f for f in sweep.rglob("*") if f.is_file() and f.suffix in (".json", ".jsonl", ".yaml", ".pt", ".log"))
    # Every kind of file alike, however many of it there are.
    name = rng.choice(sorted({f.name for f in files}))
    file = rng.choice([f for f in files if f.name == name])
    kinds = [_value] * 8 + [_raw, _bytes, _object, _folder]
    if name == "sweep.yaml":
        kinds = [_yaml] * 6 + [_raw, _bytes, _object]
    elif name.endswith((".pt", ".log")):
        kinds = [_raw, _bytes, _object]
    return rng.choice(kinds)(sweep, file, rng)


def _value(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    """Put a hostile value in the place of one in a JSON file, take a key away or add one."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text(encoding="utf-8")]
    number = rng.randrange(len(lines))
    content = json.loads(lines[number])
    path = rng.choice(list(_paths(content)))
    target = content
    for key in path[:-1]:
        target = target[key]
    way = rng.choice(["replace"] * 6 + ["delete", "add", "nudge"])
    value = rng.choice(HOSTILE)
    if way == "replace":
        target[path[-1]] = value
    elif way == "delete":
        del target[path[-1]]
    elif way == "nudge" and type(target[path[-1]]) in (int, float):
        target[path[-1]] += 1
    elif isinstance(target, dict):
        target[str(value)[:300]] = rng.choice(HOSTILE)
    lines[number] = json.dumps(content)
    label = f"{file.relative_to(sweep)}:{number} {way} {path} {str(value)[:40]!r}"
    return Mutation(label, lambda: _put(file, "\n".join(lines).encode("utf-8", "surrogatepass")))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _put(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def _raw(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    content = rng.choice(RAW)
    return Mutation(f"{file.relative_to(sweep)} holds {content[:20]!r}", lambda: _put(file, content))


def _bytes(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    """Cut a file, or change some of its bytes."""
    content = bytearray(file.read_bytes())
    if content and rng.random() < 0.4:
        del content[rng.randrange(len(content)) :]
    for _ in range(rng.choice((1, 1, 3, 30))):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    return Mutation(f"{file.relative_to(sweep)} with other bytes", lambda: _put(file, bytes(content)))


def _yaml(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    text = rng.choice(YAMLS)
    return Mutation(f"{file.relative_to(sweep)} is {text[:40]!r}", lambda: _put(file, text.encode()))


def _object(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    """Put something else in a file's place: nothing, a folder, a pipe, a link, a file of 3 GB that takes no room."""

    def vast() -> None:
        with open(file, "wb") as made:
            made.truncate(3 << 30)

    ways: dict[str, Callable[[], object]] = {
        "gone": lambda: None, "folder": file.mkdir, "pipe": lambda: os.mkfifo(file), "vast": vast,
        "link": lambda: file.symlink_to("/etc/passwd"), "device": lambda: file.symlink_to("/dev/zero"),
        "dangling": lambda: file.symlink_to("nowhere"), "circle": lambda: file.symlink_to(file.name),
    }  # fmt: skip
    way = rng.choice(sorted(ways))

    def apply() -> None:
        file.unlink()
        ways[way]()

    return Mutation(f"{file.relative_to(sweep)} is {way}", apply)


def _folder(sweep: Path, file: Path, rng: random.Random) -> Mutation:
    """Rename, swap, link or add folders."""
    trials = sorted(f for f in (sweep / "trials").iterdir())
    one, other = rng.sample(trials, 2)
    names = (ESCAPES.replace("\x00", "").encode(), b"0" * 16, b"<b>x", b"=1+1", b"\xff\xfe", b"a" * 200, b"..x", b"Z" * 16)

    def rename() -> None:
        os.rename(os.fsencode(one), os.fsencode(one.parent) + b"/" + rng.choice(names))

    def swap() -> None:
        (one / "result.json").unlink(missing_ok=True)
        if (other / "result.json").exists():
            shutil.copy(other / "result.json", one / "result.json")

    def link() -> None:
        shutil.move(one, sweep.parent / "elsewhere")
        one.symlink_to(sweep.parent / "elsewhere")

    def attempt() -> None:
        attempts = sorted(one.glob("attempt-*"))
        if attempts:
            shutil.rmtree(attempts[-1])
            attempts[-1].symlink_to("/")

    def odd() -> None:
        (one / "attempt-x").mkdir()
        (one / "attempt-99999").write_text("")

    way = rng.choice([rename, rename, swap, link, attempt, odd])
    return Mutation(f"{way.__name__} {one.name} {other.name}", way)
