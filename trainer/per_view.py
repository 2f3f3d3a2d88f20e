"""BatchNorm that sees each view by itself, so that both views go through a network in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm1dPerView(nn.BatchNorm1d):
    """BatchNorm1d whose training statistics are of each half of the batch: (2N, C) → (2N, C), as two passes of N would give."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each view of a batch by its own statistics; the running statistics take the first view, then the second."""
        return torch.cat([super(BatchNorm1dPerView, self).forward(view) for view in _views(self, input)])


class BatchNorm2dPerView(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are of each half of the batch: (2N, C, H, W) → (2N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each view of a batch by its own statistics; the running statistics take the first view, then the second."""
        return torch.cat([super(BatchNorm2dPerView, self).forward(view) for view in _views(self, input)])


PER_VIEW: dict[type[nn.Module], type[_BatchNorm]] = {nn.BatchNorm1d: BatchNorm1dPerView, nn.BatchNorm2d: BatchNorm2dPerView}


def _views(norm: _BatchNorm, batch: Tensor) -> tuple[Tensor, ...]:
    return batch.chunk(2) if norm.training else (batch,)


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
