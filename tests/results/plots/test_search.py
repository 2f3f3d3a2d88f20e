"""Pictures of what a search tried."""

import random

from results.plots.search import Tried, evenly_spaced


def test_many_configurations_are_thinned_from_the_best_to_the_worst(seed):
    rng = random.Random(seed)
    all_of_them = [Tried({"tau": rng.random()}, rng.gauss(50, 10), str(i)) for i in range(rng.randrange(500, 3000))]
    assert evenly_spaced(all_of_them, 5000) == all_of_them
    kept = evenly_spaced(all_of_them, 400)
    ordered = sorted(t.score for t in all_of_them)
    assert len({t.label for t in kept}) == 400
    assert (kept[0].score, kept[-1].score) == (ordered[0], ordered[-1])
    for share in (0.1, 0.5, 0.9):  # a share of all lies below the value that as large a share of the kept lies below
        cutoff = kept[round(share * 399)].score
        assert abs(sum(s < cutoff for s in ordered) / len(ordered) - share) < 0.01
