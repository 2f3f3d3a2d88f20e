"""Optimisers: a call string such as ``sgd(momentum=0.9)`` becomes a PyTorch optimiser of the trial's parameters.

The learning rate is set anew at every step (:mod:`trainer.schedules`). On a GPU it is a tensor, so that a step that was
captured in a CUDA graph can be given another one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.components import make
from trainer.errors import UserError
from trainer.registry import F, register

Groups = list[dict[str, Any]]


def optimiser(**bounds: str) -> Callable[[F], F]:
    """Register an optimiser: a function from (parameter groups, learning rate, whether on a GPU) to a PyTorch optimiser."""
    return register("optimiser", bounds, inputs=3)


@optimiser(beta1=">= 0 and < 1", beta2=">= 0 and < 1")
def adam(groups: Groups, lr: float, on_gpu: bool, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), fused=True, capturable=on_gpu)


@optimiser(beta1=">= 0 and < 1", beta2=">= 0 and < 1")
def adamw(groups: Groups, lr: float, on_gpu: bool, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019): Adam, with weights shrunk by lr · weight decay apart from the gradient."""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True, capturable=on_gpu)


@optimiser(momentum=">= 0 and < 1")
def sgd(groups: Groups, lr: float, on_gpu: bool, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum; weight decay is added to the gradient."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)


@optimiser(momentum=">= 0 and < 1", trust="> 0")
def lars(groups: Groups, lr: float, on_gpu: bool, momentum: float = 0.9, trust: float = 0.001) -> torch.optim.Optimizer:
    """LARS (You et al. 2017): SGD whose step is scaled, matrix by matrix, to ``trust`` times the weights' length."""
    return Lars(groups, lr, momentum, trust)


class Lars(torch.optim.Optimizer):
    """LARS: SGD with momentum whose gradient is scaled by trust · ‖w‖ / ‖g + λw‖ for every weight of two or more dimensions.

    Norms' parameters and biases take plain steps, as in SimCLR's code. Nothing waits for the device, so that a CUDA graph can
    hold a step. Source: You et al. (2017), arXiv 1708.03888.

    Args:
        groups: parameter groups, with their ``weight_decay``.
        lr: the learning rate, a number or a tensor without dimensions.
        momentum: the momentum's factor.
        trust: the trust coefficient.
    """

    def __init__(self, groups: Iterable[Any], lr: float | Tensor, momentum: float = 0.9, trust: float = 0.001) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along the gradients that the parameters hold."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)

    def _step_one(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad + group["weight_decay"] * parameter
        if parameter.ndim > 1:
            length, slope = parameter.norm(), gradient.norm()
            ratio = group["trust"] * length / slope.clamp_min(1e-30)
            gradient = gradient * torch.where((length > 0) & (slope > 0), ratio, torch.ones_like(ratio))
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        parameter.sub_(buffer * group["lr"])


def make_optimiser(
    text: str, modules: Iterable[nn.Module], lr: float, weight_decay: float, decayed: str, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimiser that a call string names, for the parameters of some modules.

    Args:
        text: the call string.
        modules: the modules to train.
        lr: the learning rate.
        weight_decay: the weight decay.
        decayed: ``all`` parameters, or ``weights``, which leaves out those of fewer than two dimensions: norms' and biases.
        device: where the parameters are.

    Raises:
        UserError: if there is no such optimiser, or a plug-in's fails, is none or leaves parameters out.
    """
    parameters = [p for module in modules for p in module.parameters()]
    groups = [{"params": parameters, "weight_decay": weight_decay}]
    if decayed == "weights":
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    on_gpu = device.type == "cuda"
    made: torch.optim.Optimizer = make(
        "optimiser", text, groups, lr, on_gpu, check=lambda found: _check_optimiser(found, text, parameters)
    )
    for group in made.param_groups if on_gpu else ():
        group["lr"] = torch.full((), lr, device=device)
    return made


def _check_optimiser(made: object, text: str, parameters: list[nn.Parameter]) -> None:
    """Refuse what a plug-in returned where it is no optimiser of all these parameters. Raises UserError."""
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"the optimiser {text}: expected a torch.optim.Optimizer, got {type(made).__name__}")
    held = {id(p) for group in made.param_groups for p in group["params"]}
    missing = sum(p.requires_grad and id(p) not in held for p in parameters)
    if missing:
        raise UserError(f"the optimiser {text}: expected all {len(parameters)} parameters in its groups, {missing} are missing")
    try:
        inspect.signature(made.step).bind()
    except TypeError as error:
        raise UserError(f"the optimiser {text}: expected a step() without a closure: {error}") from None
