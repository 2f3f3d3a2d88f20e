"""BatchNorm that sees each view by itself, so that both views go through a network in one pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm1dPerView(nn.BatchNorm1d):
    """BatchNorm1d whose training statistics are of each half of the batch: (2N, C) → (2N, C), as two passes of N would give."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each view of a batch by its own statistics; the running statistics take the first view, then the second."""
        return _per_view_forward(self, super().forward, input)


class BatchNorm2dPerView(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are of each half of the batch: (2N, C, H, W) → (2N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each view of a batch by its own statistics; the running statistics take the first view, then the second."""
        return _per_view_forward(self, super().forward, input)


PER_VIEW: dict[type[nn.Module], type[_BatchNorm]] = {nn.BatchNorm1d: BatchNorm1dPerView, nn.BatchNorm2d: BatchNorm2dPerView}


def _per_view_forward(norm: _BatchNorm, usual: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    if not norm.training:
        return usual(batch)
    if torch.compiler.is_compiling() and norm.momentum is not None:
        return _at_once(norm, norm.momentum, batch)
    return torch.cat([usual(view) for view in batch.chunk(2)])


def _at_once(norm: _BatchNorm, momentum: float, batch: Tensor) -> Tensor:
    """Both views in one reduction and one pass over the batch, once the compiler has fused these lines: half the kernels."""
    x = batch.unflatten(0, (2, -1)).to(torch.promote_types(batch.dtype, torch.float32))  # (2, N, C, …)
    variance, mean = torch.var_mean(x, [1, *range(3, x.ndim)], correction=0, keepdim=True)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        n = x[0].numel() // norm.num_features
        with torch.no_grad():
            norm.num_batches_tracked.add_(2)
            for view in range(2):
                norm.running_mean.lerp_(mean[view].flatten(), momentum)
                norm.running_var.lerp_(variance[view].flatten() * (n / (n - 1)), momentum)
    x = (x - mean) * torch.rsqrt(variance + norm.eps)
    if norm.affine:
        shape = (-1, *[1] * (x.ndim - 3))
        x = x * norm.weight.view(shape) + norm.bias.view(shape)
    normalised: Tensor = x.flatten(0, 1).to(batch.dtype)
    return normalised


def separates_views(network: nn.Module) -> bool:
    """Tell whether one pass of a network over both views can equal a pass per view.

    Of the layers that mix the images of a batch, BatchNorm1d and BatchNorm2d can be taken apart; a subclass of them has a
    ``forward`` of its own, and a layer that draws random numbers would draw others.
    """
    mixing = [m for m in network.modules() if isinstance(m, _BatchNorm) and type(m) not in (*PER_VIEW, *PER_VIEW.values())]
    drawing = [
        m for m in network.modules() if getattr(m, "p", 0) or getattr(m, "drop_prob", 0)
    ]  # PyTorch's dropouts, timm's DropPath
    return not mixing and not drawing


def separate_views(network: nn.Module) -> None:
    """Replace every BatchNorm inside ``network`` by one that sees each view by itself and has the same parameters and buffers.

    The network's ``state_dict``, and what it computes in eval mode, stay the same.
    """
    for name, child in network.named_children():
        if type(child) in PER_VIEW:
            setattr(network, name, _per_view(child))  # type: ignore[arg-type]
        else:
            separate_views(child)


def _per_view(norm: _BatchNorm) -> _BatchNorm:
    with torch.device("meta"):  # its own parameters give way to those of the layer that it stands for
        made = PER_VIEW[type(norm)](norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made._parameters, made._buffers, made.training = norm._parameters, norm._buffers, norm.training
    return made
