import dataclasses
import json
import pickle
import re

import pytest

from trainer import ConfigError, TrialConfig


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("tau", 0, "expected tau > 0"),
        ("tau", "x", "expected tau to be a number"),
        ("tau", float("nan"), "expected tau to be a number"),
        ("epochs", -1, "expected epochs >= 0"),
        ("epochs", 1.5, "expected epochs to be a whole number"),
        ("epochs", True, "expected epochs to be a whole number"),
        ("lr", 0, "expected lr > 0"),
        ("batch_size", 1, "expected batch_size >= 2"),
        ("held_out", 1, "expected 0 < held_out < 1"),
        ("schedule", "cosin", "did you mean 'cosine'"),
        ("dataset", "cifar11", "did you mean 'cifar10'"),
        ("dataset", "folder:", "no dataset"),
        ("objective", "entorpy", "did you mean 'entropy'"),
        ("objective", "direct(p='x')", "expected p to be a number, got p='x'"),
        ("objective", "direct(p=0)", "expected p > 0, got p=0"),
        ("objective", "direct(4)", "give hyper-parameters by name, as in 'direct(p=4)'"),
        ("objective", "direct(p=4, tau=1)", "tau is a setting of its own"),
        ("objective", "uniform(p=1)", "it takes none"),
        ("encoder", "resnet19", "did you mean 'resnet18'"),
        ("encoder", "resnet18(width=0)", "expected width >= 1"),
        ("encoder", "resnet18(stem='tiny')", "no stem 'tiny'"),
        ("read_at", [500], "expected epochs between 1 and epochs=100 in read_at, got 500"),
        ("image_size", 32, "image_size is for folder:PATH alone; digits has its own size"),
        ("seed", 2**64, "expected seed < 2**63"),
        ("lr", 10**400, "expected lr to be a number"),
        ("objective", f"direct(p={10**400})", "expected p to be a number"),
        ("shuffle", "yes", "expected shuffle to be true or false"),
        ("two_forwards", 1, "expected two_forwards to be true or false"),
        ("probe", "papre", "no probe 'papre'; did you mean 'paper'"),
        ("protocol", "papper", "no protocol 'papper'; did you mean 'paper'"),
        ("protocol", True, "no protocol True"),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(field, value, says):
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        TrialConfig(**{field: value})
    assert caught.value.field == field


def test_an_unknown_key_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown key 'epoch'; did you mean 'epochs'"):
        TrialConfig.from_dict({"epoch": 3})


def test_an_objective_without_temperature_drops_tau():
    assert TrialConfig(objective="uniform", tau=0.5) == TrialConfig(objective="uniform", tau=0.1)
    assert TrialConfig(objective="uniform").tau is None


def test_json_round_trip():
    config = TrialConfig(objective="direct(p=3)", read_at=(50, 10), images=500)
    again = TrialConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.digest == config.digest
    assert config.read_at == (10, 50)


def test_spellings_of_one_trial_share_a_digest_and_different_trials_do_not():
    same = {TrialConfig(objective=o).digest for o in ("direct", "direct(p=4)", "direct( p=4.0 )")}
    assert len(same) == 1
    assert TrialConfig(encoder="resnet18").digest == TrialConfig(encoder="resnet18(width=64)").digest
    changes = {
        "tau": 0.1,
        "epochs": 7,
        "seed": 1,
        "lr": 0.5,
        "shuffle": False,
        "read_at": (3,),
        "images": 100,
        "objective": "mine",
    }
    digests = [TrialConfig().digest, *(TrialConfig(**{k: v}).digest for k, v in changes.items())]
    assert len(set(digests)) == len(digests)


def test_every_field_is_part_of_the_digest():
    other = {"str": None, "int": 12, "float": 0.123, "bool": None}
    for f in dataclasses.fields(TrialConfig):
        kind = str(f.type).split(" ")[0]
        value = {"dataset": "cifar10", "objective": "entropy", "encoder": "convnet", "schedule": "constant"}.get(f.name)
        value = value or {"augmentation": "none", "precision": "float32", "probe": "paper"}.get(f.name)
        value = value or {"optimiser": "sgd", "projector": "linear", "decayed": "weights"}.get(f.name)
        value = value or {"read_at": (1,)}.get(f.name) or other[kind]
        value = (not f.default) if kind == "bool" else value
        base = {"dataset": "folder:x"} if f.name == "image_size" else {}
        assert TrialConfig(**base, **{f.name: value}).digest != TrialConfig(**base).digest, f.name


def test_a_digest_is_stable_across_versions():
    # A change here orphans every trial folder that exists.
    assert TrialConfig().digest == "d7d91d6dcb01022f"
    assert TrialConfig(objective="direct(p=4)", tau=0.1, epochs=20, seed=1).digest == "569fa3af382ad81c"


PAPER = {
    "schedule": "paper", "shuffle": False, "two_forwards": True, "probe": "paper", "pretrain_on_held_out": True,
    "lr": 0.01, "weight_decay": 0, "batch_size": 128, "projection_dim": 128,
}  # fmt: skip


def test_a_protocol_is_the_configuration_that_spells_it_out():
    named = TrialConfig(protocol="paper", dataset="cifar10", epochs=500)
    spelled = TrialConfig(dataset="cifar10", epochs=500, **PAPER)
    assert named == spelled
    assert named.digest == spelled.digest == TrialConfig.from_dict({"protocol": "paper", **spelled.to_dict()}).digest
    assert "protocol" not in named.to_dict()
    assert (named.protocol, TrialConfig().protocol) == ("paper", "default")
    assert TrialConfig(protocol="default") == TrialConfig()


def test_settings_given_beside_a_protocol_win_even_where_they_are_the_default():
    for name in PAPER:
        default = getattr(TrialConfig(), name)
        given = TrialConfig(protocol="paper", **{name: default})
        assert getattr(given, name) == default
        assert given.protocol == ("paper" if PAPER[name] == default else "mixed")
        choice = isinstance(PAPER[name], (bool, str)) and PAPER[name] != default
        assert TrialConfig(**{name: PAPER[name]}).protocol == ("mixed" if choice else "default")
        assert given == TrialConfig.from_dict({name: default, "protocol": "paper"})


def test_a_protocol_survives_copies():
    named = TrialConfig(protocol="paper")
    assert dataclasses.replace(named, tau=0.1).protocol == "paper"
    assert pickle.loads(pickle.dumps(named)) == named


def test_probe_epochs():
    assert sorted(TrialConfig(epochs=20).probe_epochs) == list(range(2, 21, 2))
    assert sorted(TrialConfig(epochs=5, probe_every=10).probe_epochs) == [5]
    assert 100 in TrialConfig(epochs=500, read_at=(100,), probe_every=70).probe_epochs
    assert TrialConfig(epochs=0).probe_epochs == {0}


# Digests of trials that were run before settings were added later; a stored sweep is found again by them.
EARLIER = [
    ({}, "d7d91d6dcb01022f"),
    ({"objective": "direct"}, "1c031696932ddf39"),
    ({"objective": "direct(p=2)", "tau": 0.1}, "726ea55179ad53c5"),
    ({"objective": "infonce(eps=0)", "tau": 0.2, "seed": 3}, "f0216ad93d0a9f2a"),
    ({"objective": "adnce"}, "e645cce57020d6e5"),
    ({"objective": "adnce(mu=0.3, sigma=0.5)", "tau": 0.4}, "da3758ef5bcd1ac2"),
    ({"objective": "uniform", "epochs": 20}, "37e7fe4764f991b9"),
    ({"objective": "alpha_of(triplet)"}, "5aa9ace99ecdd59e"),
    ({"objective": "tsallis(q=0.5)", "lr": 0.01}, "b42c09035382e687"),
    ({"objective": "backprop", "weight_decay": 0.0001}, "48d5c68e55ffc275"),
    ({"objective": "square", "schedule": "paper"}, "a1561c186c9509a6"),
    ({"dataset": "cifar10", "encoder": "resnet18"}, "4eee845563ea7790"),
    ({"dataset": "cifar100", "encoder": "resnet18(width=16)", "batch_size": 256}, "280d1833d3b0db63"),
    ({"dataset": "stl10", "encoder": "resnet50"}, "a92d19bd19a50228"),
    ({"dataset": "folder:data/cifar10-jpeg", "image_size": 32, "images": 2000}, "2666866bd3be76d6"),
    ({"dataset": "cifar10", "augmentation": "stl10", "projection_dim": 64}, "378481f6e01031cf"),
    ({"protocol": "paper", "objective": "direct(p=4)", "dataset": "cifar10"}, "b56e1a59a0f00056"),
    ({"encoder": "convnet(width=16)", "augmentation": "none", "held_out": 0.2}, "08fe48a9dbadeae9"),
    ({"read_at": [10, 50], "probe": "paper", "probe_every": 5}, "5c48c6da126bccb0"),
    (
        {"precision": "float32", "shuffle": False, "two_forwards": False, "knn_k": 20, "pretrain_on_held_out": True},
        "b1118b0fa3ef16ca",
    ),
]


@pytest.mark.parametrize(("settings", "digest"), EARLIER)
def test_settings_that_were_added_later_left_the_digests_of_earlier_trials_alone(settings, digest):
    assert TrialConfig(**settings).digest == digest
