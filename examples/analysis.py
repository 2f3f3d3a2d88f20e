"""Read a sweep into pandas, cell by cell as in a notebook.

    python examples/analysis.py runs/quickstart

The argument is a sweep folder, or a folder of JSON records; while a sweep runs, what has finished is there.
"""

# %% One row per finished trial: its settings, its final metrics
import sys

from results import load_sweep, sweep_tables

sweep = load_sweep(sys.argv[1])
frame = sweep.frame()
frame = frame[frame["status"] == "finished"]
print(f"{sweep.name}: {len(frame)} finished trials, chosen by {sweep.metric}")

# %% Mean, standard deviation and number of seeds of each configuration
by = ["objective", "tau"]
summary = frame.groupby(by, dropna=False)["test/linear"].agg(["mean", "std", "count"]).sort_values("mean", ascending=False)
print(summary.round(2).to_string())

# %% Differences to InfoNCE at the same temperature, in pairs of seeds; what has no temperature is left out
wide = frame.pivot_table(index=["tau", "seed"], columns="objective", values="test/linear")
others = [name for name in wide if name != "infonce"]
if "infonce" in wide and others:
    print(wide[others].sub(wide["infonce"], axis=0).agg(["mean", "std", "count"]).round(2).to_string())

# %% Learning curves: one row per epoch of each trial
curves = sweep.frame(per="epoch")
print(curves.groupby(["objective", "epoch"])[sweep.metric].mean().unstack("objective").round(1).dropna().to_string())

# %% The accuracy table that `alphacl table` prints, with its tests
for table in sweep_tables(sweep):
    best = table.best(sweep.metric)  # chosen on held-out images, and told by the test images
    if best is not None:
        test = best.cells["test/linear"]
        print(f"{table.dataset}: best {sweep.metric} {best.label}, test/linear {test.text()} over {best.n} seeds")
