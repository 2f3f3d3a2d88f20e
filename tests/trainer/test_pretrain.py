import math

import pytest
import torch

from trainer import ConfigError, TrialConfig, TrialDiverged, UserError
from trainer.pretrain import Pretrainer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def images(n=64):
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8)


def config(**changes):
    return TrialConfig(**{"epochs": 2, "batch_size": 32, **changes})


@pytest.mark.parametrize(("two_forwards", "expected"), [(True, [32, 32]), (False, [64])])
def test_batchnorm_sees_each_view_alone_unless_asked_otherwise(two_forwards, expected):
    trainer = Pretrainer(config(augmentation="none", two_forwards=two_forwards), images(), CPU)
    seen = []
    norm = trainer.encoder.layers[0][1]
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    one_step(trainer)
    assert seen == expected


def one_step(trainer):
    return trainer.train_step(next(trainer.batches()), next(trainer.parameters()), 0)


def test_one_forward_is_the_naive_step_with_joint_statistics(seed):
    trainer = Pretrainer(config(augmentation="none", two_forwards=False, objective="mine"), images(), CPU)
    batch = next(iter(Pretrainer(config(), trainer.images.rows.whole(), CPU).batches()))
    model = torch.nn.Sequential(trainer.encoder, trainer.projector).train()
    x = batch.float() / 255
    z = torch.nn.functional.normalize(model(torch.cat([x, x])), dim=1)
    loss = one_step(trainer)[0]
    assert loss.item() == pytest.approx(trainer.objective(*z.chunk(2)).item(), rel=1e-5)


def test_the_last_partial_batch_is_dropped_and_order_is_as_asked():
    given = images(70)
    trainer = Pretrainer(config(shuffle=False), given, CPU)
    batches = list(trainer.batches())
    assert [len(b) for b in batches] == [32, 32]
    assert torch.equal(torch.cat(batches), given[:64])
    shuffled = torch.cat(list(Pretrainer(config(), given, CPU).batches()))
    assert not torch.equal(shuffled, given[:64])


def test_training_moves_every_parameter():
    trainer = Pretrainer(config(), images(), CPU)
    before = [p.detach().clone() for p in [*trainer.encoder.parameters(), *trainer.projector.parameters()]]
    trainer.train_epoch()
    after = [*trainer.encoder.parameters(), *trainer.projector.parameters()]
    still = [tuple(a.shape) for a, b in zip(after, before, strict=True) if torch.equal(a, b)]
    assert still == [], "parameters that no gradient reached"


def test_embedding_is_in_eval_mode_and_leaves_no_trace():
    trainer = Pretrainer(config(), images(), CPU)
    trainer.train_epoch()
    state = {k: v.clone() for k, v in trainer.encoder.state_dict().items()}
    given = trainer.images.rows.whole()
    features = trainer.embed(given)
    assert features.shape == (64, trainer.encoder.feature_dim)
    torch.testing.assert_close(trainer.embed(given[:3]), features[:3])  # whatever else is in the batch
    assert all(torch.equal(v, state[k]) for k, v in trainer.encoder.state_dict().items())


def test_a_loss_that_is_no_number_ends_the_trial_with_its_epoch():
    trainer = Pretrainer(config(lr=1e30, objective="triplet_contrastive"), images(), CPU)
    with pytest.raises(TrialDiverged, match="diverged in epoch") as caught:
        list(iter(trainer.train_epoch, {}))
    assert caught.value.epoch in (1, 2)


def test_too_few_images_and_foreign_checkpoints_are_refused():
    with pytest.raises(ConfigError, match="expected batch_size <= 20"):
        Pretrainer(config(), images(20), CPU)
    state = Pretrainer(config(seed=1), images(), CPU).state_dict()
    with pytest.raises(UserError, match="checkpoint is of trial"):
        Pretrainer(config(seed=2), images(), CPU).load_state_dict(state)


def test_a_state_that_is_no_trials_is_refused():
    trainer = Pretrainer(config(), images(), CPU)
    for state in (trainer.encoder.state_dict(), {}, [1], {**trainer.state_dict(), "digest": "0" * 16}):
        with pytest.raises(UserError, match="the checkpoint is"):
            trainer.load_state_dict(state)


def test_a_state_from_another_kind_of_device_is_gone_on_with():
    trainer = Pretrainer(config(), images(), CPU)
    trainer.train_epoch()
    state = {**trainer.state_dict(), "device": "cuda", "generator": torch.zeros(16, dtype=torch.uint8)}
    for group in state["optimiser"]["param_groups"]:
        group |= {"lr": torch.tensor(0.5), "capturable": True}
    again = Pretrainer(config(), trainer.images.rows, CPU)
    again.load_state_dict(state)
    assert again.epoch == 1
    assert again.optimiser.param_groups[0]["capturable"] is False
    assert math.isfinite(again.train_epoch()["train/loss"])
