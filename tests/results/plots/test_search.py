"""Pictures of what a search tried."""

import math
import random
from types import SimpleNamespace

from results.plots.importance import evenly_spaced, importance, importance_by_family, shares_of
from results.record.naming import family_of
from results.tables.model import Cell, Row

METRIC = "val/linear"


def configuration(objective, score, **settings):
    config = {"objective": objective, "seed": 0, "lr_per_256": None, **settings}
    trial = SimpleNamespace(config=config, family=family_of(objective))
    return Row({"objective": objective}, 1, 1, {METRIC: Cell((score,), (0,))}, [trial])


def searched(rng, count=40):
    """A search where the learning rate decides, but within ``direct``, where p does; ``uniform`` has too few configurations."""
    rows = []
    for _ in range(count):
        p, tau, lr = rng.uniform(1, 8), rng.uniform(0.1, 1), 10 ** rng.uniform(-4, -1)
        rows.append(configuration(f"direct(p={p:.6f})", 60 - (p - 4) ** 2, tau=tau, lr=lr))
        rows.append(configuration("infonce", 50 - 9 * (math.log10(lr) + 2) ** 2, tau=tau, lr=lr))
    return [*rows, *(configuration("uniform", 20.0 + i, tau=None, lr=0.1 * i) for i in range(3))]


def names_of(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_the_importance_within_a_family_counts_the_objectives_own_hyper_parameters(seed):
    rows = searched(random.Random(seed))
    figure = importance_by_family(rows, METRIC)
    drawn = {axis.get_title(): names_of(axis) for axis in figure.axes}
    assert set(drawn) == {"direct (40)", "infonce (40)"}
    assert drawn["direct (40)"][-1] == "p"  # the most important is on top
    assert set(drawn["direct (40)"]) == {"p", "tau", "lr"}
    assert drawn["infonce (40)"][-1] == "lr"
    assert set(names_of(importance(rows, METRIC).axes[0])) == {"family", "tau", "lr"}


def test_the_importance_of_a_search_of_one_family_is_one_picture(seed):
    rows = [row for row in searched(random.Random(seed)) if row.settings["objective"].startswith("direct")]
    assert importance_by_family(rows, METRIC) is None
    shares, count = shares_of(rows, METRIC)
    assert (next(iter(shares)), count) == ("p", 40)
    assert abs(sum(shares.values()) - 1) < 1e-6


def test_too_few_configurations_have_no_importance(seed):
    rows = searched(random.Random(seed), 2)
    assert importance(rows[:4], METRIC) is importance_by_family(rows[:4], METRIC) is None


def test_many_configurations_are_thinned_from_the_best_to_the_worst(seed):
    rng = random.Random(seed)
    all_of_them = [configuration("infonce", rng.gauss(50, 10), tau=rng.random()) for _ in range(rng.randrange(500, 3000))]
    assert evenly_spaced(all_of_them, METRIC, 5000) == all_of_them
    kept = evenly_spaced(all_of_them, METRIC, 400)
    scores, ordered = ([row.cells[METRIC].mean for row in rows] for rows in (kept, all_of_them))
    ordered.sort()
    assert len({id(row) for row in kept}) == 400
    assert (scores[0], scores[-1]) == (ordered[0], ordered[-1])
    for share in (0.1, 0.5, 0.9):  # a share of all lies below the value that as large a share of the kept lies below
        cutoff = scores[round(share * 399)]
        assert abs(sum(s < cutoff for s in ordered) / len(ordered) - share) < 0.01
