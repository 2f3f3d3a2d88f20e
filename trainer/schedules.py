"""Schedules of the learning rate over a trial."""

from __future__ import annotations

import math

from trainer.config import TrialConfig


def learning_rate(config: TrialConfig, epoch: int, step: int, steps: int) -> float:
    """Return the learning rate at one step of an epoch.

    For ``warmup`` epochs it rises linearly from zero to ``lr``; then ``cosine`` falls to zero over the rest of the run, step by
    step, and ``cosine_epochs`` once an epoch. ``paper`` is the authors' code: constant for 10 epochs, then a cosine in epochs
    whose half-period is the number of *steps* per epoch.

    Args:
        config: the trial, with its schedule.
        epoch: the epoch, from 1.
        step: the step within the epoch, from 0.
        steps: how many steps an epoch has.
    """
    done = epoch - 1 + step / steps  # epochs
    if done < config.warmup:
        return config.lr * (done + 1 / steps) / config.warmup
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "paper":
        return config.lr / 2 * (1 + math.cos(math.pi * max(0, epoch - 11) / steps))
    if config.schedule == "cosine_epochs":
        done = epoch - 1
    if config.warmup == 0 and config.schedule == "cosine":
        share = ((epoch - 1) * steps + step) / (config.epochs * steps)  # to the last bit as before there were warm-ups
    else:
        share = (done - config.warmup) / (config.epochs - config.warmup)
    return config.lr / 2 * (1 + math.cos(math.pi * share))
