"""Recipes of augmentation: a call string such as ``cifar(crop=0.2)`` becomes the numbers that draw and apply it.

What draws and applies them to a batch is in :mod:`trainer.augment`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.components import make
from trainer.errors import UserError, is_number
from trainer.registry import F, register

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Recipe:
    """Settings of an augmentation by torchvision's transforms.

    They are RandomResizedCrop, flip, ColorJitter, grayscale, Gaussian blur, solarisation and normalisation, in that order.

    Args:
        crop_scale: lowest and highest share of the area that RandomResizedCrop keeps.
        crop_ratio: lowest and highest aspect ratio (width / height) of the crop.
        flip: probability of a horizontal flip.
        jitter: ColorJitter's brightness, contrast and saturation (factors are 1 ± these), and hue (± this in turns).
        jitter_p: probability of the colour jitter.
        grayscale: probability of a grayscale image.
        blur: probability of the Gaussian blur.
        blur_kernel: taps of the Gaussian blur along an axis, odd.
        blur_sigma: lowest and highest standard deviation of the blur, in pixels.
        solarise: probability that values from 0.5 on are inverted.
        mean: mean of each channel that normalisation subtracts, of values in [0, 1].
        std: standard deviation of each channel that normalisation divides by.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
    jitter_p: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.0
    blur_kernel: int = 3
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse numbers that no augmentation has.

        Raises:
            UserError: naming the number and what was expected.
        """
        for name in ("flip", "jitter_p", "grayscale", "blur", "solarise"):
            value = getattr(self, name)
            self._expect(name, is_number(value) and 0 <= value <= 1, "a probability")
        for name, many in (("crop_scale", 2), ("crop_ratio", 2), ("jitter", 4), ("blur_sigma", 2), ("mean", 0), ("std", 0)):
            value = getattr(self, name)
            lengths = (many,) if many else (1, 3)
            fits = isinstance(value, tuple) and len(value) in lengths and all(map(is_number, value))
            self._expect(name, fits, f"a tuple of {' or '.join(map(str, lengths))} numbers")
        for name, most in (("crop_scale", 1), ("crop_ratio", float("inf")), ("blur_sigma", float("inf"))):
            low, high = getattr(self, name)
            self._expect(name, 0 < low <= high <= most, f"0 < lowest <= highest{' <= 1' if most == 1 else ''}")
        self._expect("jitter", min(self.jitter) >= 0 and self.jitter[3] <= 0.5, "numbers >= 0, the hue's <= 0.5")
        taps = self.blur_kernel
        self._expect("blur_kernel", isinstance(taps, int) and taps >= 1 and taps % 2 == 1, "an odd whole number")
        self._expect("std", len(self.std) == len(self.mean) and min(self.std) > 0, "numbers > 0, as many as mean has")

    def _expect(self, name: str, fits: bool, what: str) -> None:
        if not fits:
            raise UserError(f"a recipe's {name}: expected {what}, got {getattr(self, name)!r}")


def augmentation(**bounds: str) -> Callable[[F], F]:
    """Register an augmentation: a function from the images' side in pixels to a :class:`Recipe`."""
    return register("augmentation", bounds)


SHARE, AT_LEAST_0 = ">= 0 and <= 1", ">= 0"
BOUNDS = {
    "crop": "> 0 and <= 1", "flip": SHARE, "jitter": AT_LEAST_0, "hue": ">= 0 and <= 0.5", "jitter_p": SHARE,
    "strength": AT_LEAST_0, "grayscale": SHARE, "blur": SHARE, "kernel": AT_LEAST_0, "solarise": SHARE,
}  # fmt: skip


def _recipe(
    size: int, crop: float, flip: float, jitter: float, hue: float, jitter_p: float, strength: float, grayscale: float,
    blur: float, kernel: int, solarise: float, normalise: tuple[tuple[float, ...], tuple[float, ...]] | None,
) -> Recipe:  # fmt: skip
    """The recipe of an augmentation's hyper-parameters, as the call strings have them."""
    taps = kernel or max(3, size // 10 // 2 * 2 + 1)
    if taps % 2 == 0 or taps // 2 >= size:
        raise UserError(f"expected kernel to be odd and below {2 * size}, twice the images' side, got kernel={kernel}")
    colour = min(jitter * strength, 1.0)
    mean, std = normalise or ((0.0,), (1.0,))
    return Recipe(
        crop_scale=(crop, 1.0), flip=flip, jitter=(colour, colour, colour, min(hue * strength, 0.5)), jitter_p=jitter_p,
        grayscale=grayscale, blur=blur, blur_kernel=taps, solarise=solarise, mean=mean, std=std,
    )  # fmt: skip


# Before augmentations had hyper-parameters a trial named them alone.
@register("augmentation", BOUNDS, added_later=(*BOUNDS, "normalise"))
def cifar(
    size: int, crop: float = 0.08, flip: float = 0.5, jitter: float = 0.4, hue: float = 0.1, jitter_p: float = 0.8,
    strength: float = 1.0, grayscale: float = 0.2, blur: float = 0.0, kernel: int = 0, solarise: float = 0.0,
    normalise: bool = True,
) -> Recipe:  # fmt: skip
    """SimCLR's augmentation for small images: crop, flip, colour jitter, grayscale, normalised as CIFAR-10."""
    constants = (CIFAR_MEAN, CIFAR_STD) if normalise else None
    return _recipe(size, crop, flip, jitter, hue, jitter_p, strength, grayscale, blur, kernel, solarise, constants)


@register("augmentation", BOUNDS, added_later=tuple(BOUNDS))
def stl10(
    size: int, crop: float = 0.08, flip: float = 0.5, jitter: float = 0.8, hue: float = 0.2, jitter_p: float = 0.8,
    strength: float = 1.0, grayscale: float = 0.2, blur: float = 1.0, kernel: int = 9, solarise: float = 0.0,
) -> Recipe:  # fmt: skip
    """The authors' augmentation for larger images: stronger jitter, every image blurred, values left in [0, 1]."""
    return _recipe(size, crop, flip, jitter, hue, jitter_p, strength, grayscale, blur, kernel, solarise, None)


@register("augmentation", {"crop": BOUNDS["crop"], "jitter": AT_LEAST_0}, added_later=("crop", "jitter"))
def digits(size: int, crop: float = 0.4, jitter: float = 0.4) -> Recipe:
    """An augmentation for digits: crop and jitter of brightness and contrast, neither flipped nor coloured."""
    colour = min(jitter, 1.0)
    return Recipe(crop_scale=(crop, 1.0), flip=0, jitter=(colour, colour, 0, 0), grayscale=0, mean=(0.3,), std=(0.37,))


@augmentation()
def none(size: int) -> Recipe:
    """No augmentation: both views are the image, its values in [0, 1]."""
    return Recipe(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter_p=0, grayscale=0)


def recipe_for(name: str, dataset: str, size: int) -> Recipe:
    """Return the recipe that a call string names; for ``auto`` the one that suits the dataset and the images' side in pixels.

    Args:
        name: the call string, such as ``cifar(crop=0.2)``.
        dataset: the dataset's name.
        size: the images' side in pixels.

    Raises:
        UserError: if the augmentation is unknown, or does not suit images of this size.
    """
    if name == "auto":
        name = "digits" if dataset == "digits" else "stl10" if size > 64 else "cifar"
    recipe = make("augmentation", name, size)
    if not isinstance(recipe, Recipe):
        raise UserError(f"the augmentation {name}: expected a trainer.recipes.Recipe, got {type(recipe).__name__}")
    if recipe.blur > 0 and recipe.blur_kernel // 2 >= size:
        raise UserError(
            f"the augmentation {name}: expected blur_kernel below {2 * size}, twice the images' side, got {recipe.blur_kernel}"
        )
    return recipe
