"""Measures without labels, against naive computations in NumPy and plain loops."""

import math

import numpy as np
import pytest
import torch

from trainer import TrialConfig, run_trial
from trainer.label_free import alpha_req, clid, cluster_learnability, intrinsic_dimension, lidar, measure
from trainer.metrics import METRICS, SEARCHABLE


def features(seed, n=40, width=6):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) @ torch.diag(torch.arange(1.0, width + 1))


def test_alpha_req_is_the_slope_of_the_spectrum(seed):
    x = features(seed).numpy().astype(np.float64)
    spectrum = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    slope = np.polyfit(np.log(np.arange(1, len(spectrum) + 1)), np.log(spectrum), 1)[0]
    assert alpha_req(features(seed)) == pytest.approx(-slope, rel=1e-6)


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_alpha_req_finds_a_power_law(decay):
    q, _ = torch.linalg.qr(torch.randn(200, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    q = torch.linalg.qr(q - q.mean(dim=0))[0]
    x = q @ torch.diag(torch.arange(1, 31, dtype=torch.float64) ** (-decay / 2))
    assert alpha_req(x) == pytest.approx(decay, abs=1e-6)


def test_lidar_is_the_naive_rank(seed):
    view1 = features(seed, n=12, width=4)
    view2 = view1 + 0.3 * features(seed + 1, n=12, width=4)
    a, b = (v.numpy().astype(np.float64) for v in (view1, view2))
    means = (a + b) / 2
    within = np.zeros((4, 4))
    for one, two, mean in zip(a, b, means, strict=True):
        within += (np.outer(one - mean, one - mean) + np.outer(two - mean, two - mean)) / 24
    between = np.cov(means.T)
    values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(4))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigen = np.linalg.eigvalsh(root @ between @ root)
    shares = eigen / eigen.sum()
    assert lidar(view1, view2) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-6)


def test_the_intrinsic_dimension_is_the_naive_estimate(seed):
    x = features(seed).tolist()
    logs = []
    for i, a in enumerate(x):
        distances = sorted(math.dist(a, b) for j, b in enumerate(x) if j != i)
        logs.append(math.log(distances[1] / distances[0]))
    assert intrinsic_dimension(features(seed)) == pytest.approx(len(x) / sum(logs), rel=1e-5)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_intrinsic_dimension_of_a_flat_sheet_is_found(dimension):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2000, dimension, generator=generator) @ torch.randn(dimension, 20, generator=generator)
    assert intrinsic_dimension(x) == pytest.approx(dimension, rel=0.15)


def test_clusters_that_lie_apart_are_learnt_and_noise_less_so():
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(10, 16, generator=generator), dim=1)
    apart = centres.repeat(10, 1) + 0.01 * torch.randn(100, 16, generator=generator)
    noise = torch.randn(100, 16, generator=generator)
    assert cluster_learnability(apart) > 0.95
    assert cluster_learnability(noise) < 0.8
    assert clid(apart) == cluster_learnability(apart) + intrinsic_dimension(apart) / 16
    assert cluster_learnability(apart) == cluster_learnability(apart.clone()), "the same features, the same figure"


def test_a_collapse_leaves_out_what_has_no_value():
    found = measure(torch.ones(32, 8))
    assert "feature/alpha_req" not in found
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.slow
def test_they_are_reported_every_epoch_and_may_be_searched_by(data_root):
    reports = list(run_trial(TrialConfig(epochs=2, images=200, batch_size=64), threads=1, data_root=data_root))
    names = {"feature/alpha_req", "feature/alpha_req_gap", "feature/lidar", "feature/clid", "feature/rank"}
    assert all(names <= report.metrics.keys() for report in reports[1:])
    assert names - {"feature/alpha_req"} <= set(SEARCHABLE)
    assert METRICS["feature/alpha_req_gap"].direction == "minimize"
    assert METRICS["feature/lidar"].direction == "maximize"
