"""An encoder of one's own: two linear layers over the pixels."""

from torch import Tensor, nn

from trainer.encoders import encoder


class TwoLayers(nn.Module):
    """Images (N, C, S, S) → features (N, ``feature_dim``)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.feature_dim = width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of images."""
        features: Tensor = self.layers(x)
        return features


@encoder(width=">= 1")
def two_layers(channels: int, size: int, width: int = 128) -> TwoLayers:
    """Two linear layers over the pixels."""
    return TwoLayers(channels * size * size, width)
