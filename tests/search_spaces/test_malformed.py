"""Two hundred malformed search spaces: each is read, or refused in one line that names the file and the line; none hangs."""

import random
import re
import time

import pytest

from search_spaces import load_spec
from search_spaces.yaml_lines import SpaceError
from trainer.bounded_yaml import load
from trainer.errors import UserError

WHOLE = """\
description: a space that is right
trial:
  dataset: digits
  epochs: 8
  read_at: [4]
search: {sampler: tpe, trials: 4, seed: 0, metric: val/linear}
repeat: {seed: [0, 1]}
confirm: {top: 1, seeds: 2}
early_stopping: {grace: 2, reduction: 3}
keep_encoders: 1
resources: {cpu: 1, gpu: 0.5}
retries: 2
plugins: []
space:
  objective:
    - infonce
    - direct: {p: {float: [1, 8]}}
  tau: {float: [0.1, 0.5], log: true}
  batch_size: {int: [64, 128]}
"""
VALUES = (
    "!!bool maybe", "!!int ''", "!!timestamp x", "!!python/name:os.system", "!x y", "! z", "9" * 5000, "-" + "9" * 400,
    "0x" + "f" * 300, "1" * 101, "10000000000000000000", "1e999", "-.inf", ".nan", '"\\ud800"', '"\\ud83d\\ude00"', '"\\e[31m"',
    '"\\0"', '"\\u202e"', "2026-99-99", "2026-01-01", "12:30:45", "*x", "&x [*x]", "[[[[[[", "{a: {b: {c: []}}}", "? [a]", "~",
    "yes", "''", '"', "'", "- a", "a: b: c", "@x", "`x`", "%x", "|", ">", "[" * 60 + "]" * 60, "1_000", "0o17", "+", "{",
    "}", "]", ",", "<<: *a", "folder:", "x" * 20_000, "infonce(",
    "direct(p=1e999)", "alpha_of(" * 300 + "infonce" + ")" * 300, "formula",
    "{alpha: exp(", "[1, 1]", "[]", "{}", "-1", "true",
)  # fmt: skip
MULTIPLYING = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9)
)
MERGING = "a0: &a0 {k: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}, *a{n}, *a{n}]}}\n" for n in range(20))


def malform(rng):
    """A search space with one or two lines or values spoilt."""
    lines = WHOLE.splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(lines))
        way = rng.choice(("value", "value", "value", "value", "inner", "gone", "twice", "indent", "key", "cut"))
        line = lines[place]
        if way == "value":
            lines[place] = line.partition(":")[0] + ": " + rng.choice(VALUES)
        elif way == "inner":
            spot = rng.choice(list(re.finditer(r"[\w./]+", line)) or [re.match("", line)])  # a line may be empty by now
            lines[place] = line[: spot.start()] + rng.choice(VALUES) + line[spot.end() :]
        elif way == "gone":
            del lines[place]
        elif way == "twice":
            lines.insert(place, line)
        elif way == "indent":
            lines[place] = " " * rng.randrange(7) + line.lstrip()
        elif way == "key":
            lines[place] = rng.choice(VALUES) + ": 1"
        elif way == "cut":
            lines[place] = line[: rng.randrange(len(line) + 1)]
    return "\n".join(lines) + "\n"


def test_two_hundred_malformed_spaces_are_read_or_refused_with_their_line(seed, write):
    rng = random.Random(seed)
    refused = 0
    for number in range(200):
        text = malform(rng)
        file = write(text)
        began = time.monotonic()
        try:
            spec = load_spec(file)
            if spec.search is None:
                spec.leaves()
        except UserError as error:
            refused += 1
            message = str(error)
            line = re.match(rf"{re.escape(str(file))}:(\d+): .", message)
            assert line, f"{number}: {message}\n{text}"
            assert 1 <= int(line[1]) <= text.count("\n") + 1, message
            assert "\n" not in message
            assert len(message) < 30_000
        except Exception as error:
            raise AssertionError(f"{number}: {error!r} of\n{text}") from error
        assert time.monotonic() - began < 20, text
    assert refused > 100


MANY = list(range(10, 410))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (MULTIPLYING, None, "expected at most 100000 values, aliases written out"),
        (MERGING, None, "expected at most 100000 values, aliases written out"),
        ("x: &x [*x]\n", 1, "an alias refers to itself"),
        ("trial:\n  epochs: !!int '3'\n", 2, "the tag !!int is not read here"),
        ("trial:\n  seed: " + "9" * 5000 + "\n", 2, "a whole number of 5000 digits"),
        ('trial:\n  dataset: "a\\ud800"\n', 2, r"a text holds the character \ud800"),
        ('description: "\\e[2J"\n', 1, r"a text holds the character \x1b"),
        ("trial: " + "[" * 500 + "]" * 500 + "\n", 1, "nested deeper than 40 levels"),
        ("trial:\n  epochs: 2026-99-99\n", 2, "cannot read the value"),
        ("trial:\n  batch_size: 1000000000000000000\n", 2, "expected batch_size <= 1000000000"),
        (
            "trial: {epochs: 1}\nspace:\n  batch_size:\n    - 64\n    - 1000000000000000000\n",
            5,
            "expected batch_size <= 1000000000",
        ),
        ("trial:\n  epochs: 100000000\n", 2, "expected epochs <= 10000000"),
        (
            f"trial: {{epochs: 1}}\nspace:\n  seed: {MANY}\n  images: {MANY}\n  knn_k: {MANY}\n",
            2,
            "a grid of 64,000,000 combinations",
        ),
        ("space: {tau: {float: [0.1, 1]}}\nsearch:\n  trials: 10000000000000\n", 3, "expected trials <= 1000000, got 1e+13"),
        ("space: {tau: {float: [0.1, 1]}}\nsearch:\n  seed: 5000000000\n", 3, "expected seed <= 4294967295"),
        ("trial: {epochs: 1}\nresources:\n  cpu: 100000000000000000000\n", 3, "expected cpu <= 1000000"),
        ("trial: {epochs: 1}\nresources:\n  gpu: 1.0e-300\n", 3, "expected gpu to be 0, or from 0.001 to 10000"),
    ],
)
def test_what_goes_beyond_the_bounds_is_refused_with_its_line(text, line, says, write):
    file = write(text)
    with pytest.raises(SpaceError) as caught:
        load_spec(file)
    assert says in str(caught.value)
    assert re.match(rf"{re.escape(str(file))}:{line or '[0-9]+'}: ", str(caught.value))


def test_what_a_reader_of_results_loads_has_the_same_bounds():
    for text in (
        MULTIPLYING,
        MERGING,
        "x: !!timestamp x\n",
        "[" * 5000,
        "? [a]\n: b\n",
        "x: 2026-99-99\n",
        "\x00",
        "x" * 300_000,
    ):
        with pytest.raises(UserError):
            load(text)
    assert load("a: &a [1, 2.5e-3]\nb: *a\n") == {"a": [1, 0.0025], "b": [1, 0.0025]}
    assert load("") is None
