"""Formulas as objectives: against what is built in, Theorem 1 on random ones, mistakes by column, hostile texts."""

import contextlib
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import TrialConfig, UserError
from trainer.energy import energy
from trainer.formula_values import FUNCTIONS, ONE, ROW, TWO
from trainer.formulas import MOST_CHARACTERS
from trainer.objectives import make_objective
from trainer.pairs import pair_distances


@pytest.mark.parametrize(
    ("formula", "built_in"),
    [
        ("formula(alpha='exp(-d2**(p/2)/tau)', p=3)", "direct(p=3)"),
        ("formula(alpha='exp(-d2/tau)')", "entropy"),
        ("formula(alpha='exp(s/tau)')", "entropy"),
        ("formula(alpha='1')", "uniform"),
        ("formula(alpha='(d2 + tau)**(-k)', k=2)", "inverse(k=2)"),
        ("formula(alpha='exp(s/tau - (s - mu)**2/(2*sigma**2))', mu=0.3, sigma=0.7)", "adnce(mu=0.3, sigma=0.7)"),
        ("formula(alpha='exp(s/tau)/(exp(s_pos/tau) + sum(exp(s/tau)))', normalise=False)", "alpha_of(infonce)"),
        ("formula(phi='tau*log(1 + x)', psi='exp(x/tau)')", "infonce"),
        ("formula(phi='tau*log(x)', psi='exp(x/tau)')", "infonce(eps=0)"),
        ("formula(phi='x', psi='max(x + margin, 0)', margin=0.4)", "triplet(margin=0.4)"),
        ("formula(phi='max(log(x), 0)**2', psi='exp(x + margin)', margin=0.2)", "lifted_structured(margin=0.2)"),
        ("formula(phi='x', psi='sigmoid(c*x)', c=5)", "modified_triplet"),
    ],
)
def test_what_is_built_in_can_be_written_down(formula, built_in, seed, views):
    for tau in (0.01, 0.3, 2.0):
        view1, view2 = (v.requires_grad_() for v in views(seed))
        found, expected = make_objective(formula, tau), make_objective(built_in, tau)
        torch.testing.assert_close(found.alpha(view1, view2), expected.alpha(view1, view2), rtol=1e-9, atol=1e-12)
        gradients = [torch.autograd.grad(o(view1, view2), (view1, view2)) for o in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tau", [1e-4, 1e-3])
def test_products_of_exponentials_do_not_underflow(tau, seed, views):
    """exp(−d²/τ) alone is 0 in every precision at such τ; its rows still sum to 1."""
    view1, view2 = (v.float() for v in views(seed))
    for text in ("exp(-d2/tau) * (1 + c*s + c)", "(1 + c*s + c) * exp(-d2/tau)**2 / sqrt(exp(d2/tau))"):
        alpha = make_objective(f"formula(alpha='{text}', c=0.5)", tau).alpha(view1, view2)
        torch.testing.assert_close(alpha.sum(dim=1), torch.ones(len(alpha)))
    value = make_objective("formula(phi='tau*log(1 + x)', psi='exp(x/tau)')", tau)(view1, view2)
    assert value.isfinite()


def increasing(rng, variable, depth=2):
    """The text of a random function that increases in ``variable`` ≥ 0, and is positive."""
    inner = variable if depth == 0 else increasing(rng, variable, depth - 1)
    a = round(rng.uniform(0.2, 2), 2)
    return rng.choice(
        [f"{a}*({inner})", f"({inner}) + {a}", f"log(1 + ({inner}))", f"sqrt({a} + ({inner}))", f"softplus(({inner}) - {a})",
         f"({inner})**{a}", f"tanh({a}*({inner}))", f"sigmoid(({inner}) - {a})", f"log({a} + exp(({inner})/4))"]
    )  # fmt: skip


def test_theorem_1_holds_for_random_formulas(seed, views):
    """∇L = −∇E_α with α = φ′(ξ)ψ′ held constant, for 60 random pairs of increasing functions (section 3)."""
    rng = random.Random(seed)
    for offset in range(60):
        psi, phi = increasing(rng, "exp(x)"), increasing(rng, "x")
        view1, view2 = (v.requires_grad_() for v in views(seed + offset))
        objective = make_objective(f"formula(phi={phi!r}, psi={psi!r})")
        found = torch.autograd.grad(objective(view1, view2), (view1, view2))
        alpha = objective.alpha(view1, view2)
        assert (alpha >= 0).all()
        expected = torch.autograd.grad(-energy(alpha, pair_distances(view1, view2)), (view1, view2))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12, msg=lambda m, f=(phi, psi): f"{f}: {m}")
        # α itself, by finite differences of φ(Σψ) in one gap
        d = pair_distances(view1.detach(), view2.detach())
        step = torch.zeros_like(d.inter)
        step[0, 0] = 1e-6
        up, down = (objective.value(d._replace(inter=d.inter - sign * step)) * len(d.inter) for sign in (1, -1))
        assert ((up - down) / 2e-6).item() == pytest.approx(alpha[0, 0].item(), rel=1e-4, abs=1e-7), (phi, psi)


def test_spellings_of_one_formula_share_a_name_and_a_digest():
    spellings = ["formula(alpha='exp(-d2/tau)*(1+c*s)', c=0.5)", "formula(c=0.5, alpha=' exp( -d2 / tau ) * (1 + c * s)')"]
    configs = [TrialConfig(objective=text) for text in spellings]
    assert configs[0].digest == configs[1].digest
    assert TrialConfig(objective=spellings[0].replace("0.5", "0.6")).digest != configs[0].digest
    assert TrialConfig(objective=spellings[0], tau=0.1).digest != configs[0].digest
    without = TrialConfig(objective="formula(alpha='exp(-d2)')", tau=0.1)
    assert without.tau is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("formula", "a formula needs alpha, or phi and psi"),
        ("formula(phi='x')", "a formula needs alpha, or phi and psi"),
        ("formula(alpha='s', phi='x', psi='x')", "a formula needs alpha, or phi and psi"),
        ("formula(alpha='exp(-q*d2)')", r"unknown symbol 'q' at column 6 of 'exp\(-q\*d2\)'; known: d2, s, d2_pos, s_pos, tau"),
        ("formula(alpha='1 + expp(d2)')", r"no function 'expp' at column 5 of '1 \+ expp\(d2\)'; did you mean 'exp'"),
        ("formula(alpha='exp(')", "cannot read 'exp\\(' at column 4"),
        ("formula(alpha='d2.real')", "expected numbers, symbols, .* at column 1"),
        ("formula(alpha='[d2]')", "got something else at column 1"),
        ("formula(alpha='d2 if s else 1')", "got something else at column 1"),
        ("formula(alpha='(lambda: 1)()')", "expected a function such as exp"),
        ("formula(alpha='exp')", "the function 'exp' has no argument at column 1"),
        ("formula(alpha='exp(d2, s)')", "expected exp of one argument at column 1"),
        ("formula(alpha='max(d2)')", "expected max of two arguments"),
        ("formula(alpha='True')", "expected a finite number, got True"),
        ("formula(alpha='1e999')", "expected a finite number, got inf"),
        ("formula(alpha='x')", "no 'x' in alpha, but at column 1 of 'x'; known: d2"),
        ("formula(phi='d2', psi='x')", "no 'd2' in phi"),
        ("formula(phi='sum(x)', psi='x')", "leaves nothing for sum"),
        ("formula(alpha='d2', q=1)", "the formula has no symbol 'q'; it has none"),
        ("formula(alpha='k*d2', q=1)", "the formula has no symbol 'q'; known: k"),
        ("formula(alpha='k*d2', k='x')", "expected k to be a number, got k='x'"),
        ("formula(alpha='d2/tau', tau=1)", "tau is a setting of its own"),
        ("formula(alpha='d2', normalise=2)", "normalise is true or false"),
        ("formula(phi='x', psi='x', normalise=False)", "for alpha alone"),
        ("formula(alpha='-d2')", "expected α >= 0, got -0"),
        ("formula(alpha='log(-d2)')", "α is not finite"),
        ("formula(phi='-x', psi='x')", "expected α >= 0, got -1"),
        ("formula(phi='log(x)', psi='x')", "not finite|α >= 0|finite number"),
        (f"formula(alpha='{'d2+' * 200}d2')", f"expected at most {MOST_CHARACTERS} characters"),
        (f"formula(alpha='{'-' * 400}d2')", "expected at most 200 operations"),
    ],
)
def test_a_mistake_is_one_line_with_its_column(text, says):
    with pytest.raises(UserError, match=says) as caught:
        make_objective(text, 0.5)
    assert "\n" not in str(caught.value)


def test_a_formula_with_a_temperature_needs_one():
    with pytest.raises(UserError, match="expected tau > 0 for the formula, got tau=None"):
        make_objective("formula(alpha='exp(-d2/tau)')")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("d2sx ()+-*/<>.,0123456789eautoplgbm_[]'\"\\:\n"), max_size=60))
def test_any_text_is_a_formula_or_a_user_error(text):
    with contextlib.suppress(UserError):
        assert make_objective(f"formula(alpha={text!r}, c=1)", 0.5).name.startswith("formula(alpha=")


def test_every_function_is_tried(seed, views):
    """Each function once inside a formula, of the distances and of a number, against PyTorch's own."""
    d = pair_distances(*views(seed, n=5, dim=3)).detach()
    number = torch.full_like(d.inter, 1.25)
    for name in FUNCTIONS:
        for text, argument in (("d2 + 1", d.inter + 1), ("1.25", number)):
            if name in TWO:
                call = f"{name}({text}, 1.5)"
                expected = {"min": torch.minimum, "max": torch.maximum}[name](argument, torch.full_like(argument, 1.5))
            else:
                call = f"{name}({text})"
                expected = (ROW[name] if name in ROW else ONE[name][0])(argument)
            found = make_objective(f"formula(alpha='0*d2 + {call}', normalise=False)").weights(d).alpha
            torch.testing.assert_close(found, expected.expand_as(d.inter), msg=lambda m, c=call: f"{c}: {m}")
