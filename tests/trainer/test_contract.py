"""What holds for every objective in the registry, plugged-in ones too: gradients, symmetries, extremes, bad input."""

import math
import os
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import UserError
from trainer.energy import energy
from trainer.objectives import find_objective, has_tau, make_objective, objective_names
from trainer.pairs import pair_distances
from trainer.plugins import load_plugin

if os.environ.get("ALPHACL_TEST_PLUGIN"):  # a user's own constructors, held to the same contract
    load_plugin(os.environ["ALPHACL_TEST_PLUGIN"])

ALL = [name for name in objective_names() if name not in ("alpha_of", "formula")] + [
    "alpha_of(infonce)", "alpha_of(lifted_structured(margin=0.2))",
    "infonce(eps=0)", "direct(p=1)", "direct(p=7.5)", "inverse(k=3)",
    "tsallis(q=0.3)", "tsallis(q=1)", "tsallis(q=1.001)", "tsallis(q=2)", "tsallis(q=4)", "adnce(mu=0.2, sigma=0.3)",
    "adnce(eps=1)", "sinkhorn(rounds=0)", "debiased(prior=0)", "debiased(prior=0.9)", "hard_negatives(b=0)",
    "kernel_infonce(gamma=2)",    "sigmoid(bias=0)", "formula(alpha='exp(-d2**(p/2)/tau) * (1 + c*s)', p=4, c=0.5)",
    "formula(alpha='d2_pos + 2 - d2', normalise=False)",
    "formula(phi='tau*log(1 + x)', psi='exp(x/tau)')", "formula(phi='x**a', psi='softplus(x)', a=0.5)",
]  # fmt: skip
SUM_TO_ONE = ("uniform", "entropy", "square", "inverse", "tsallis", "direct", "adnce", "backprop", "sinkhorn", "dclw")
NORMALISED = [n for n in ALL if n.partition("(")[0] in SUM_TO_ONE and "eps=1" not in n]
OF_PAIRS = [n for n in ALL if find_objective(n)[0].kind != "embedding_loss"]


@pytest.mark.parametrize("name", ALL)
class TestContract:
    """What holds for every objective in the registry; a new one is tested by being registered."""

    def test_alpha(self, name, seed, views):
        if name not in OF_PAIRS:
            with pytest.raises(UserError, match="has no α"):
                make_objective(name, 0.5).alpha(*views(seed))
            return
        for tau in (0.05, 0.5, 5.0):
            view1, view2 = views(seed)
            objective = make_objective(name, tau)
            alpha, beta = objective.alpha_beta(view1, view2)
            assert alpha.shape == (2 * len(view1), 2 * len(view1) - 2)
            assert alpha.dtype == torch.float64
            assert objective.is_signed or (alpha >= 0).all()
            assert beta is None or (beta.shape == (2 * len(view1), 1) and beta.dtype == torch.float64)
            assert not alpha.requires_grad
            if name in NORMALISED:
                torch.testing.assert_close(alpha.sum(dim=1), torch.ones(len(alpha), dtype=torch.float64), rtol=1e-9, atol=0)

    def test_it_can_be_pickled(self, name, seed, views):
        objective = make_objective(name, 0.3)
        again = pickle.loads(pickle.dumps(objective))
        assert (again.name, again.tau) == (objective.name, objective.tau)
        assert torch.equal(again(*views(seed)), objective(*views(seed)))

    def test_the_order_of_images_does_not_matter(self, name, seed, views):
        view1, view2 = views(seed)
        order = torch.randperm(len(view1))
        objective = make_objective(name, 0.3)
        assert objective(view1[order], view2[order]).item() == pytest.approx(objective(view1, view2).item(), rel=1e-9)
        if name not in OF_PAIRS:
            return
        energies = [
            (o.alpha(a, b).sort(dim=1).values) for o, a, b in ((objective, view1, view2), (objective, view1[order], view2[order]))
        ]
        both = torch.cat([order, order + len(order)])
        torch.testing.assert_close(energies[0][both], energies[1], rtol=1e-7, atol=1e-9)

    def test_the_views_are_alike(self, name, seed, views):
        view1, view2 = views(seed)
        objective = make_objective(name, 0.3)
        assert objective(view1, view2).item() == pytest.approx(objective(view2, view1).item(), rel=1e-9)

    def test_the_gradient_holds_alpha_constant(self, name, seed, views):
        """Against finite differences of −E with α and β frozen; ``backprop`` alone lets α move, see its own test."""
        if name == "backprop":
            return
        view1, view2 = (v.requires_grad_() for v in views(seed, n=4))
        objective = make_objective(name, 0.4)
        if name not in OF_PAIRS:
            assert torch.autograd.gradcheck(objective, (view1, view2))
            return
        found = torch.autograd.grad(objective(view1, view2), (view1, view2))
        alpha, beta = objective.alpha_beta(view1, view2)
        assert torch.autograd.gradcheck(lambda a, b: -energy(alpha, pair_distances(a, b), beta), (view1, view2))
        expected = torch.autograd.grad(-energy(alpha, pair_distances(view1, view2), beta), (view1, view2))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)

    @pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 100.0])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_it_is_finite_at_the_extremes(self, name, tau, dtype, seed, views):
        view1, view2 = views(seed, n=8, dim=4)
        cases = {
            "apart": (view1, view2), "views coincide": (view1, view1), "all coincide": (view1[:1].expand(8, -1),) * 2,
            "two images": (view1[:2], view2[:2]), "opposite": (view1, -view1),
        }  # fmt: skip
        objective = make_objective(name, tau)
        for case, pair in cases.items():
            a, b = (v.detach().to(dtype).clone().requires_grad_() for v in pair)
            value = objective(a, b)
            assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert value.isfinite(), (case, value)
            gradients = torch.autograd.grad(value, (a, b))
            assert all(g.isfinite().all() for g in gradients), case
            assert name not in OF_PAIRS or objective.alpha(a, b).isfinite().all(), case

    def test_autocast_does_not_lower_its_precision(self, name, seed, views):
        view1, view2 = (v.float() for v in views(seed, n=8))
        objective = make_objective(name, 0.2)
        with torch.autocast("cpu", torch.bfloat16):
            inside = objective(view1, view2)
        assert inside.dtype == torch.float32
        assert inside.item() == objective(view1, view2).item()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([n for n in ALL if n != "backprop"]),
    tau=st.floats(0.01, 100),
    n=st.integers(2, 12),
    dim=st.integers(1, 6),
    spread=st.sampled_from([0.0, 1e-8, 1e-4, 1e-2, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_float32_agrees_with_float64(name, tau, n, dim, spread, seed):
    """On clusters of any tightness, down to embeddings that coincide."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.randn(1, dim, generator=g, dtype=torch.float64)
    pair = [
        torch.nn.functional.normalize(centre + spread * torch.randn(n, dim, generator=g, dtype=torch.float64), dim=1)
        for _ in range(2)
    ]
    pair = [v.float() for v in pair]
    objective = make_objective(name, tau)
    low, high = objective(*pair).item(), objective(*(v.double() for v in pair)).item()
    assert math.isfinite(low)
    # Distances carry an error of about 1e-6, which 1/τ, powers and 2N − 2 summands magnify; of a root it is 1e-3.
    error = 2e-3 if name.startswith("kernel_infonce") else 2e-5
    assert low == pytest.approx(high, rel=2e-4, abs=error * max(1, 1 / tau) * 2 * n)


@pytest.mark.slow
def test_memory_is_quadratic_in_n_whatever_d_is():
    """A (2N × 2N × D) temporary would be 2 GB here; the whole call must stay within a few (2N × 2N) matrices."""
    code = (
        "import resource, torch, sys\n"
        "from trainer.objectives import make_objective\n"
        "v = [torch.nn.functional.normalize(torch.randn(512, 512), dim=1).requires_grad_() for _ in range(2)]\n"
        "o = make_objective(sys.argv[1], 0.5)\n"
        "o(v[0][:8], v[1][:8]).backward()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "o(*v).backward()\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "direct(p=4)"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150, "MB"


@pytest.mark.parametrize(
    ("text", "tau", "says"),
    [
        ("infonc", 0.5, "no objective 'infonc'; did you mean 'infonce'"),
        ("direct(q=1)", 0.5, "no hyper-parameter 'q'"),
        ("direct(p=1, p=2)", 0.5, "cannot read|given twice"),
        ("infonce(eps=-1)", 0.5, "expected eps >= 0, got eps=-1"),
        ("inverse(k=0)", 0.5, "expected k > 0"),
        ("tsallis(q=0)", 0.5, "expected q > 0"),
        ("adnce(sigma=0)", 0.5, "expected sigma > 0"),
        ("debiased(prior=1)", 0.5, "expected prior >= 0 and < 1, got prior=1"),
        ("sinkhorn(rounds=0.5)", 0.5, "expected rounds to be a whole number"),
        ("alpha_of(entropy)", 0.5, "expected one loss inside"),
        ("alpha_of", 0.5, "expected one loss inside"),
        ("alpha_of(infonce, mine)", 0.5, "expected one loss inside"),
        ("entropy", None, "expected tau > 0 for entropy, got tau=None"),
        ("entropy", -1, "expected tau > 0"),
        ("entropy", math.inf, "expected tau > 0"),
    ],
)
def test_bad_objectives_are_refused(text, tau, says):
    with pytest.raises(UserError, match=says):
        make_objective(text, tau)


def test_who_has_a_temperature():
    without = {n for n in objective_names() if n not in ("alpha_of", "formula") and not has_tau(n)}
    assert without == {
        "uniform",
        "mine",
        "triplet",
        "n_plus_1_tuplet",
        "lifted_structured",
        "modified_triplet",
        "triplet_contrastive",
        "spectral",
        "alignment_uniformity",
        "vicreg",
        "barlow_twins",
    }
    assert has_tau("formula(alpha='exp(-d2/tau)')")
    assert not has_tau("formula(alpha='exp(-d2)')")
    assert has_tau("alpha_of(infonce)")
    assert not has_tau("alpha_of(mine)")
    assert make_objective("uniform", 0.5).tau is None
