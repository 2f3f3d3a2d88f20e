import itertools

import optuna
import pytest

from results.record.naming import family_of
from search_spaces import SpaceError, find_space, iter_spaces, load_spec
from search_spaces.samplers import SAMPLERS
from trainer import UserError

optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_the_spaces_that_come_with_alphacl_are_valid():
    found = dict(iter_spaces())
    assert {"quickstart", "cifar10_smoke", "paper_table2", "alpha_temperature"} <= set(found)
    assert all(len(spec.description) > 20 for spec in found.values())


def test_the_quickstarts_leaves():
    leaves = load_spec(find_space("quickstart")).leaves()
    assert len(leaves) == 3 * 2 * 2 + 2  # uniform has no temperature
    assert [c.tau for c in leaves if c.objective == "uniform"] == [None, None]
    assert len({c.digest for c in leaves}) == 14


def test_the_papers_table():
    leaves = load_spec(find_space("paper_table2")).leaves()
    assert len(leaves) == 7 * 3 * 5
    assert {(c.epochs, c.read_at, c.batch_size, c.lr, c.shuffle, c.schedule) for c in leaves} == {
        (500, (100, 300), 128, 0.01, False, "paper")
    }
    assert [c.dataset for c in leaves] == ["cifar10"] * 35 + ["cifar100"] * 35 + ["stl10"] * 35


def test_a_grid_is_every_combination_once(write):
    file = write(
        "trial: {epochs: 1}\nspace:\n  objective: [infonce, 'direct(p=4)', direct, {inverse: {k: [1, 2], tau: [0.3]}}]\n"
        "  tau: [0.1, 0.2]\n  lr: [0.001, 1e-2]\n  seed: [0, 1, 2]\n"
    )
    found = {(c.objective, c.tau, c.lr, c.seed) for c in load_spec(file).leaves()}
    expected = set(itertools.product(["infonce", "direct(p=4)"], [0.1, 0.2], [0.001, 0.01], [0, 1, 2]))  # direct is direct(p=4)
    expected |= set(itertools.product(["inverse(k=1)", "inverse(k=2)"], [0.3], [0.001, 0.01], [0, 1, 2]))
    assert found == expected


FORMULAS = """
  objective:
    - infonce
    - alpha: exp(-d2**(p/2)/tau) * (1 + c*s)
      p: {p}
      c: 0.5
    - {{phi: 'log(1 + x)', psi: exp(k*x), k: [1, 2]}}
"""


def test_formulas_are_objectives_whose_symbols_have_domains(write, seed):
    leaves = load_spec(write("space:" + FORMULAS.format(p="[2, 4]") + "  tau: [0.1, 0.5]\n")).leaves()
    alpha = "formula(alpha='exp(-d2**(p/2)/tau)*(1+c*s)', p={}, c=0.5)"
    loss = "formula(phi='log(1+x)', psi='exp(k*x)', k={})"
    expected = {(o, t) for o in ("infonce", alpha.format(2), alpha.format(4)) for t in (0.1, 0.5)}
    assert {(c.objective, c.tau) for c in leaves} == expected | {(loss.format(k), None) for k in (1, 2)}
    searched = load_spec(
        write("search: {trials: 5}\nspace:" + FORMULAS.format(p="{float: [1, 8]}") + "  tau: {float: [0.1, 1]}\n")
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    families = {family_of(searched.suggest(study.ask()).objective) for _ in range(30)}
    assert len(families) == 3
    assert "infonce" in families


def test_a_search_suggests_what_belongs_together(write, seed):
    file = write(
        "search: {trials: 5}\nspace:\n  objective:\n    - uniform\n    - direct: {p: {float: [1, 8]}}\n"
        "    - tsallis: {q: {float: [0.5, 2]}, tau: {float: [0.01, 0.1], log: true}}\n  tau: {float: [0.5, 2]}\n"
        "  batch_size: {int: [32, 64]}\n  schedule: [cosine, constant]\n"
    )
    spec = load_spec(file)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    families = set()
    for _ in range(60):
        trial = study.ask()
        config = spec.suggest(trial)
        family = config.objective.partition("(")[0]
        families.add(family)
        names = {"uniform": set(), "direct": {"direct.p", "tau"}, "tsallis": {"tsallis.q", "tsallis.tau"}}[family]
        assert set(trial.params) == {"objective", "batch_size", "schedule", *names}
        low, high = {"uniform": (None, None), "direct": (0.5, 2), "tsallis": (0.01, 0.1)}[family]
        assert config.tau is None if low is None else low <= config.tau <= high
        assert isinstance(config.batch_size, int)
    assert families == {"uniform", "direct", "tsallis"}


def test_a_search_per_family_gives_every_objective_the_same_budget(write):
    text = "search: {per_family: 4}\nconfirm: {seeds: 3}\nspace:\n  objective: [infonce, uniform, direct: {p: {float: [1, 8]}}]\n"
    spec = load_spec(write(text + "  tau: {float: [0.1, 1]}\n"))
    assert (spec.search.trials, len(spec.branches)) == (4, 3)
    assert spec.trials == (4 + 3) + (1 + 3) + (4 + 3)  # uniform has no temperature: there is one configuration to suggest
    assert [branch.label for branch in spec.of_family("direct").branches] == ["direct"]


@pytest.mark.parametrize(
    ("domains", "expected"),
    [("tau: [0.1, 0.5]", 3), ("tau: {float: [0.1, 1]}", 9), ("batch_size: {int: [64, 66]}", 6), ("tau: 0.5", 2)],
)
def test_a_search_plans_no_more_trials_than_its_space_has_configurations(write, domains, expected):
    spec = load_spec(write(f"search: {{trials: 9}}\nspace:\n  objective: [infonce, uniform]\n  {domains}\n"))
    assert spec.trials == expected


@pytest.mark.parametrize(("given", "mps"), [("", True), (", mps: auto", True), (", mps: off", False), (', mps: "off"', False)])
def test_trials_that_share_a_gpu_use_mps_unless_told_otherwise(write, given, mps):
    assert load_spec(write(f"resources: {{gpu: 0.5{given}}}\n")).resources.mps is mps


def test_trials_are_alike_whose_tensors_have_the_same_shapes(write):
    grid = "space:\n  objective: [infonce, uniform]\n  tau: [0.1, 0.5]\n  seed: [0, 1]\n"
    assert load_spec(write(grid)).alike == 6  # uniform has no temperature
    assert load_spec(write(grid + "  encoder: [resnet18, resnet50]\n  dataset: [cifar10, cifar100, stl10]\n")).alike == 6
    search = "search: {trials: 30}\nspace:\n  encoder: [resnet18, resnet50]\n  tau: {float: [0.1, 1]}\n"
    assert load_spec(write(search)).alike == 15


def test_overrides(write):
    file = write("trial: {epochs: 9}\nspace:\n  tau: [0.1, 0.2]\n")
    spec = load_spec(file, ("epochs=2", "tau=[0.3]", "lr=1e-2", "resources.cpu=2"))
    (leaf,) = spec.leaves()
    assert (leaf.epochs, leaf.tau, leaf.lr, spec.resources.cpu) == (2, 0.3, 0.01, 2)
    again = write(spec.document.text, "again.yaml")
    assert load_spec(again).leaves() == [leaf]  # what is kept is what was launched
    for bad, says in (
        ("tau", "expected KEY=VALUE"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=-1", "--set epochs=-1: expected epochs >= 0"),
    ):
        with pytest.raises(UserError, match=says):
            load_spec(file, (bad,))


BAD = [
    ("space: {tau: {float: [0.1, 1]}}\nsearch:\n  metric: val/linear_projector\n", 3, "probe_projector: true alone"),
    ("trial: {epochs: 9}\nearly_stopping:\n  metric: val/knn_projector\n", 3, "reported with probe_projector: true alone"),
    ("trial:\n  epoch: 5\n", 2, "unknown key 'epoch' in 'trial'; did you mean 'epochs'?"),
    ("trail:\n  epochs: 5\n", 1, "unknown key 'trail'; did you mean 'trial'?"),
    ("space:\n  objective:\n    - infonce\n    - entorpy\n", 4, "no objective 'entorpy'; did you mean 'entropy'?"),
    ("space:\n  objective: entorpy\n", 2, "did you mean 'entropy'?"),
    ("trial:\n  objective: entorpy\n", 2, "did you mean 'entropy'?"),
    ("space:\n  objective: [direct(p=\"x\")]\n", 2, "expected p to be a number, got p='x'"),
    ("space:\n  objective: [direct(p]\n", 2, "cannot read 'direct(p'"),
    ("space:\n  tau:\n    - 0.5\n    - 0\n", 4, "expected tau > 0"),
    ("space:\n  tau:\n    - 0.5\n    - -1\n", 4, "expected tau > 0"),
    ("trial:\n  epochs: 3\n  tau: 0\n", 3, "expected tau > 0"),
    ("space:\n  tau: []\n", 2, "'tau' has no values"),
    ("space:\n  objective:\n  - {alpha: exp(-q*d2)}", 3, "unknown symbol 'q' at column 6"),
    ("space:\n  objective:\n  - alpha: s\n    k: 2", 4, "has no hyper-parameter 'k'; it takes none"),
    ("space:\n  objective:\n  - {phi: x}", 3, "a formula needs alpha, or phi and psi"),
    ("space:\n  objective:\n  - {alpha: [s]}", 3, "expected the formula alpha to be a text"),
    ("space:\n  objective:\n  - alpha: d2*k\n    k: [1, x]", 3, "expected k to be a number, got k='x'"),
    ("space:\n  objective: []\n", 2, "'objective' has no values"),
    ("space:\n  objective:\n", 2, "expected an objective"),
    ("space:\n  seed: [0, 1, 0]\n", 2, "0 is listed twice"),
    ("space:\n  objective: [mine, mine]\n", 2, "'mine' is listed twice"),
    ("trial:\n  tau: 1\nspace:\n  tau: [1]\n", 4, "'tau' is given under 'trial' too"),
    ("space:\n  tau: {float: [0.1, 1]}\n", 2, "a grid cannot enumerate"),
    ("space:\n  objective:\n    - direct: {p: {float: [1, 8]}}\n", 3, "a grid cannot enumerate"),
    ("search: {trials: 2}\nspace:\n  tau: {float: [1, 0.1]}\n", 3, "expected low < high, got low=1, high=0.1"),
    ("search: {trials: 2}\nspace:\n  tau: {float: [0, 1], log: true}\n", 3, "expected low > 0"),
    ("search: {trials: 2}\nspace:\n  tau: {float: [-1, 1]}\n", 3, "expected tau > 0"),
    ("search: {trials: 2}\nspace:\n  tau: {flaot: [0.1, 1]}\n", 3, "unknown key 'flaot'; expected a range such as"),
    ("search: {trials: 2}\nspace:\n  tau: {float: 3}\n", 3, "expected two numbers"),
    ("search: {trials: 2}\nspace:\n  batch_size: {int: [1.5, 3]}\n", 3, "expected whole numbers"),
    ("search: {trials: 2}\nspace:\n  seed: [0, 1]\n", 3, "a search takes one seed"),
    ("search: {per_family: 0}\n", 1, "expected per_family to be a whole number >= 1"),
    ("search:\n  per_family: 4\n  trials: 4\n", 3, "'per_family' gives the trials of each objective"),
    ("search: {per_family: 4}\nconfirm: {top: 5}\n", 2, "expected top <= the search's 4 trials"),
    ("search: {trials: 0}\n", 1, "expected trials to be a whole number >= 1"),
    ("search: {sampler: tpa}\n", 1, "no sampler 'tpa'; did you mean 'tpe'?"),
    ("search: {metric: test/linear}\n", 1, "read on held-out images"),
    ("space:\n  objective:\n    - direct: {q: [1, 2]}\n", 3, "no hyper-parameter 'q'"),
    ("space:\n  objective:\n    - uniform: {tau: [1, 2]}\n", 3, "no hyper-parameter 'tau'; it takes none"),
    ("space:\n  objective:\n    - direct(p=4): {p: [1, 2]}\n", 3, "'p' is given in"),
    ("space:\n  objective:\n    - direct: {p: [1, 0]}\n", 3, "expected p > 0"),
    ("space:\n  objective:\n    - {direct: {}, inverse: {}}\n", 3, "expected one objective"),
    ("resources: {gpu: 0.3}\n", 1, "a fraction that divides 1"),
    ("resources: {mps: on}\n", 1, "expected mps to be auto or off, got True"),
    ("resources: {cpu: 0}\n", 1, "expected cpu to be a whole number >= 1"),
    ("resources: 3\n", 1, "expected 'resources' to hold 'key: value' lines"),
    ("retries: -1\n", 1, "expected retries to be a whole number >= 0"),
    ("plugins: [no_such_module]\n", 1, "cannot import the plugin 'no_such_module'"),
    ("trial:\n  epochs: 3\n  epochs: 4\n", 3, "the key 'epochs' is given twice"),
    ("trial:\n  dataset: cifar11\n", 2, "did you mean 'cifar10'?"),
    ("space:\n  dataset: [digits, cifar11]\n", 2, "did you mean 'cifar10'?"),
    ("trial:\n  epochs: [1, 2]\n", 2, "expected epochs to be a whole number"),
    ("trial: {epochs: 3\nspace: [\n", 2, "not YAML"),
    ("- a\n", 1, "expected a search space"),
    ("", 1, "expected a search space"),
    ("search: {trials: 2}\nspace:\n  batch_size: {float: [16, 64]}\n", 3, "expected batch_size to be a whole number"),
    ("trial:\n  dataset: 2020-99-99\n", 2, "cannot read the value"),
    ("trial:\n  epochs: !!int foo\n", 2, "the tag !!int is not read here"),
    ("trial:\n  epochs: \x07\n", 2, "not YAML: special characters"),
    ("resources: {gpu: .inf}\n", 1, "a fraction that divides 1"),
    ("plugins: ['']\n", 1, "cannot import the plugin ''"),
    ("a: &a [*a]\n", 1, "an alias refers to itself"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_bad_input_is_one_line_with_file_and_line(text, line, says, write):
    file = write(text)
    with pytest.raises(SpaceError) as caught:
        load_spec(file).leaves()
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: "), message
    assert says in message
    assert len(message.splitlines()) == 1


def test_finding_a_space(tmp_path):
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        find_space("quickstrat")
    with pytest.raises(UserError, match=r"no file .*x\.yaml"):
        find_space(str(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="cannot read"):
        load_spec(tmp_path / "x.yaml")


def test_merge_keys(write):
    text = "trial: &short {epochs: 3, lr: 0.5}\nspace:\n  <<: *short\n  epochs: [4]\n"
    with pytest.raises(SpaceError, match="'epochs' is given under 'trial' too"):
        load_spec(write(text))
    file = write("space:\n  objective:\n    - direct: &own {p: [2], tau: [0.1]}\n    - direct(p=4): {<<: {tau: [0.3]}}\n")
    assert [c.tau for c in load_spec(file).leaves()] == [0.1, 0.3]


def test_a_number_in_scientific_notation_is_a_number(write):
    assert load_spec(write("trial: {lr: 1e-3}\n")).leaves()[0].lr == 0.001


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_of_the_table_is_one_of_optunas_and_asks(name):
    sampler = SAMPLERS[name].make(seed=0)
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    study = optuna.create_study(sampler=sampler)
    assert 0 <= study.ask().suggest_float("x", 0, 1) <= 1
