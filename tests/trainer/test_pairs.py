import warnings

import pytest
import torch

from trainer import UserError
from trainer.pairs import pair_distances


def test_distances_of_three_images_worked_out_by_hand():
    view1 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    view2 = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    d = pair_distances(view1, view2)
    # 1 − cos: 1 for right angles, 2 for opposites, 0 for equals
    assert d.intra.squeeze(1).tolist() == [1, 0, 1, 1, 0, 1]
    # anchor 0 of view 1 is (1, 0); its negatives in order: (0, 1), (−1, 0) of view 1, (0, 1), (0, −1) of view 2
    assert d.inter[0].tolist() == [1, 2, 1, 1]
    # anchor 2 of view 2 is (0, −1); then (1, 0), (0, 1) of view 1; (0, 1), (0, 1) of view 2
    assert sorted(d.inter[5].tolist()) == [1, 2, 2, 2]


def test_unnormalised_embeddings(seed):
    view1, view2 = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    d = pair_distances(view1, view2)
    z = torch.cat([view1, view2])
    for i in range(10):
        assert d.intra[i, 0] == pytest.approx((z[i] - z[(i + 5) % 10]).square().sum().item() / 2)
        expected = sorted((z[i] - z[j]).square().sum().item() / 2 for j in range(10) if j % 5 != i % 5)
        assert sorted(d.inter[i].tolist()) == pytest.approx(expected)


def test_low_precision_is_computed_in_float32_and_float64_stays():
    low = torch.nn.functional.normalize(torch.randn(4, 8), dim=1).bfloat16()
    assert pair_distances(low, low).inter.dtype == torch.float32
    assert pair_distances(low.double(), low.double()).inter.dtype == torch.float64


@pytest.mark.parametrize(("a", "b"), [((3, 2), (4, 2)), ((3, 2), (3, 3)), ((1, 2), (1, 2)), ((3,), (3,)), ((2, 3, 4), (2, 3, 4))])
def test_wrong_shapes_are_refused(a, b):
    with pytest.raises(UserError, match=r"expected two views of shape \(N, D\) with N >= 2"):
        pair_distances(torch.zeros(a), torch.zeros(b))


def test_embeddings_that_are_not_normalised_are_said(views, seed):
    from trainer.objectives import make_objective

    view1, view2 = views(seed)
    with pytest.warns(UserWarning, match="infonce\\(eps=1.*expected l2-normalised embeddings, got one of length 3"):
        make_objective("infonce", 0.5)(3 * view1, 3 * view2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_objective("infonce", 0.5)(view1, view2)
        make_objective("vicreg")(3 * view1, 3 * view2)  # takes them raw
