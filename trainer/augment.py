"""Augmentation of a whole batch of images on its device, with every parameter drawn per image.

Drawing and applying are apart: :func:`draw` takes the random numbers, :func:`apply` is a pure function of them. Cropping,
resizing and blurring are separable linear maps, so each is two batched matrix products.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from trainer.recipes import Recipe


class Parameters(NamedTuple):
    """Augmentation parameters drawn for N images, a row for each; positions and lengths are in pixels."""

    crop: Tensor  # (N, 4) int64: top, left, height, width
    flip: Tensor  # (N,) bool
    jitter: Tensor  # (N,) bool
    order: Tensor  # (N, 4) int64: which operation comes first, second, …
    factors: Tensor  # (N, 4): brightness, contrast and saturation factors, hue shift in turns
    grayscale: Tensor  # (N,) bool
    sigma: Tensor  # (N,) blur's standard deviation
    blur: Tensor  # (N,) bool
    solarise: Tensor  # (N,) bool


def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers as a tensor, which the compiler writes into its kernels."""
    if torch.compiler.is_compiling():  # it warns of a cached function
        return torch.tensor(values, dtype=torch.float32, device=device)
    return _kept_constant(values, device)


@functools.lru_cache(maxsize=256)
def _kept_constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers as a tensor, copied to a device once: a copy within a step would make the host wait for the device."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def draw(recipe: Recipe, n: int, size: int, generator: Generator, device: torch.device | None = None) -> Parameters:
    """Draw augmentation parameters for ``n`` square images, distributed as torchvision's transforms draw them.

    Args:
        recipe: the distributions to draw from.
        n: how many images.
        size: the images' side in pixels.
        generator: the source of random numbers, on the device that ``device`` names.
        device: where the parameters are drawn; the CPU when not given.
    """
    device = device or torch.device("cpu")

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    spread = _constant(recipe.jitter, device)
    centre = _constant((1.0, 1.0, 1.0, 0.0), device)
    low = torch.where(centre > 0, (centre - spread).clamp_min(0), -spread)

    def chosen(p: float) -> Tensor:  # where it is certain no number is drawn, and others stay as they were
        return uniform(n) < p if 0 < p < 1 else torch.full((n,), p > 0, device=device)

    return Parameters(
        crop=_draw_crop(recipe, n, size, uniform),
        flip=uniform(n) < recipe.flip,
        jitter=uniform(n) < recipe.jitter_p,
        order=uniform(n, 4).argsort(dim=1),
        factors=low + (centre + spread - low) * uniform(n, 4),
        grayscale=uniform(n) < recipe.grayscale,
        sigma=uniform(n, low=recipe.blur_sigma[0], high=recipe.blur_sigma[1]),
        blur=chosen(recipe.blur),
        solarise=chosen(recipe.solarise),
    )


def _draw_crop(recipe: Recipe, n: int, size: int, uniform: Callable[..., Tensor]) -> Tensor:
    """Boxes of random area and aspect ratio: the first of ten tries that fits, else the whole image, as torchvision does."""
    area = size * size * uniform(n, 10, low=recipe.crop_scale[0], high=recipe.crop_scale[1])
    ratio = uniform(n, 10, low=math.log(recipe.crop_ratio[0]), high=math.log(recipe.crop_ratio[1])).exp()
    width, height = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    first = fits.int().argmax(dim=1, keepdim=True)
    some = fits.any(dim=1, keepdim=True)
    whole = torch.full_like(first, size)
    height, width = torch.where(some, height.gather(1, first), whole), torch.where(some, width.gather(1, first), whole)
    top = (uniform(n, 1) * (size - height + 1)).long().clamp_max(size - 1)
    left = (uniform(n, 1) * (size - width + 1)).long().clamp_max(size - 1)
    return torch.cat([top, left, height, width], dim=1)


def to_float(images: Tensor, recipe: Recipe) -> Tensor:
    """Convert un-augmented images to what the encoder sees: uint8 (N, C, H, W) → normalised float32."""
    return _normalise(images.float() / 255, recipe)


def apply(images: Tensor, p: Parameters, recipe: Recipe, normalise: bool = True) -> Tensor:
    """Augment a batch: uint8 (N, C, S, S) → float32 (V·N, C, S, S) on the images' device, V views after one another.

    Several views in one call give the same bits as one at a time, in half the launches.

    Args:
        images: the batch.
        p: the parameters that :func:`draw` drew for it, V·N rows: those of the first view's N images, of the second's, and so on.
        recipe: the recipe that they were drawn for.
        normalise: whether to normalise by the recipe's mean and standard deviation; otherwise values lie in [0, 1].
    """
    p = Parameters(*(t.to(images.device, non_blocking=True) for t in p))
    size = images.shape[-1]
    rows = resize_matrix(p.crop[:, 0], p.crop[:, 2], size)
    columns = resize_matrix(p.crop[:, 1], p.crop[:, 3], size)
    columns = torch.where(p.flip[:, None, None], columns.flip(1), columns)
    x = (images.float() / 255).repeat(len(p.flip) // len(images), 1, 1, 1)
    x = _separable(x, rows, columns).clamp_(0, 1)
    if recipe.jitter_p > 0:
        x = _jitter(x, p)
    if x.shape[1] == 3 and recipe.grayscale > 0:
        x = torch.where(p.grayscale[:, None, None, None], luminance(x), x)
    if recipe.blur > 0:
        kernel = blur_matrix(p.sigma, recipe.blur_kernel, size)
        if recipe.blur < 1:
            kernel = torch.where(p.blur[:, None, None], kernel, torch.eye(size, device=kernel.device))
        x = _separable(x, kernel, kernel)
    if recipe.solarise > 0:
        x = torch.where(p.solarise[:, None, None, None] & (x >= 0.5), 1 - x, x)
    return _normalise(x, recipe) if normalise else x


def _normalise(x: Tensor, recipe: Recipe) -> Tensor:
    mean, std = (_constant(v, x.device)[:, None, None] for v in (recipe.mean, recipe.std))
    if x.shape[1] < len(mean):  # grey images take the colours' average
        mean, std = mean.mean(), std.mean()
    return (x - mean) / std


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows · x · columnsᵀ for every image and channel; rows, columns: (N, S, S)."""
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def resize_matrix(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return matrices (N, size, size) that interpolate ``length`` pixels from ``start`` on bilinearly to ``size`` pixels.

    ``start`` and ``length`` are (N,) int64. Equals torchvision's ``resized_crop`` along one axis (align_corners=False).
    """
    out = torch.arange(size, device=start.device)
    length = length[:, None]
    source = ((out + 0.5) * length / size - 0.5).clamp_min(0)
    low = torch.minimum(source.long(), length - 1)
    high = torch.minimum(low + 1, length - 1)
    share = (source - low)[..., None]
    low, high = (start[:, None] + low)[..., None], (start[:, None] + high)[..., None]
    return (low == out).float() * (1 - share) + (high == out).float() * share


def blur_matrix(sigma: Tensor, kernel: int, size: int) -> Tensor:
    """Return matrices (N, size, size) that blur along one axis with a Gaussian and reflected borders.

    Args:
        sigma: standard deviation for each image in pixels, (N,).
        kernel: taps of the blur, odd.
        size: the images' side in pixels.
    """
    offsets = torch.arange(kernel, device=sigma.device) - (kernel - 1) / 2
    weights = torch.softmax(-0.5 * (offsets / sigma[:, None]).square(), dim=1)
    positions = torch.arange(size, device=sigma.device)[:, None] + offsets.long()
    positions = (size - 1) - ((size - 1) - positions.abs()).abs()  # reflect at both ends
    spread = (positions[..., None] == torch.arange(size, device=sigma.device)).float()  # (size, kernel, size)
    return torch.einsum("nk,okj->noj", weights, spread)


def luminance(x: Tensor) -> Tensor:
    """Return the grey value of RGB images: (N, 3, H, W) → (N, 1, H, W)."""
    return 0.2989 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]


def _jitter(x: Tensor, p: Parameters) -> Tensor:
    """Brightness, contrast, saturation and hue in each image's own order, where it is to be jittered."""
    coloured = x.shape[1] == 3
    factors = torch.where(p.jitter[:, None], p.factors, _constant((1.0, 1.0, 1.0, 0.0), x.device))
    for place in range(4):
        operation = p.order[:, place]
        grey = luminance(x) if coloured else x
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        # The first three are blends with black, with the mean grey, and with the grey image.
        code = operation[:, None, None, None]
        other = torch.where(code == 1, mean, torch.where(code == 2, grey, torch.zeros_like(grey)))
        factor = factors.gather(1, operation[:, None])[:, :, None, None]
        blend = (operation < 3)[:, None, None, None]
        x = torch.where(blend, (factor * x + (1 - factor) * other).clamp(0, 1), x)
        if coloured:
            shift = _shift_all if x.device.type != "cpu" else _shift_chosen
            x = shift(p.jitter & (operation == 3), x, factors[:, 3])
    return x


def _shift_all(chosen: Tensor, x: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue of the chosen images; all are computed, so that nothing waits for a GPU to count the chosen."""
    return torch.where(chosen[:, None, None, None], shift_hue(x, shift), x)


def _shift_chosen(chosen: Tensor, x: Tensor, shift: Tensor) -> Tensor:
    """The same for a CPU: the chosen alone are computed."""
    picked = chosen.nonzero().squeeze(1)
    return x.index_copy(0, picked, shift_hue(x[picked], shift[picked])) if len(picked) else x


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of RGB images (N, 3, H, W) in [0, 1] by ``shift`` (N,) turns, through HSV and back."""
    top, low = x.amax(dim=1), x.amin(dim=1)
    chroma = top - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    r, g, b = x.unbind(dim=1)
    hue = torch.where(top == r, (g - b) / safe, torch.where(top == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = (hue + 6 * shift[:, None, None]) % 6
    sector = (hue[:, None] + _constant((5.0, 3.0, 1.0), x.device)[:, None, None]) % 6  # the channel's place on the colour wheel
    return top[:, None] - chroma[:, None] * torch.minimum(sector, 4 - sector).clamp(0, 1)
