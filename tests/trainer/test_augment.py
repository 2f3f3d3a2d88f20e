"""The batched augmentation against torchvision's, image by image, given the same parameters; and its distributions."""

import collections
import math

import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from trainer import ConfigError, TrialConfig, UserError
from trainer.augment import Parameters, apply, blur_matrix, draw, shift_hue, to_float
from trainer.recipes import Recipe, recipe_for

TOLERANCE = 1 / 255


def images(n=24, channels=3, size=32):
    smooth = torch.nn.functional.interpolate(torch.rand(n, channels, 8, 8), size=size, mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)


def torchvision_one(image, p, i, recipe):
    """What torchvision makes of image i with its drawn parameters."""
    x = image.float() / 255
    top, left, height, width = p.crop[i].tolist()
    size = list(image.shape[-2:])
    x = tv.resized_crop(x, top, left, height, width, size, InterpolationMode.BILINEAR, antialias=True)
    x = tv.hflip(x) if p.flip[i] else x
    if p.jitter[i] and recipe.jitter_p > 0:
        steps = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
        for operation in p.order[i].tolist():
            x = steps[operation](x, p.factors[i, operation].item())
    x = tv.rgb_to_grayscale(x, 3) if p.grayscale[i] else x
    if p.blur[i]:
        x = tv.gaussian_blur(x, [recipe.blur_kernel] * 2, [p.sigma[i].item()] * 2)
    return tv.solarize(x, 0.5) if p.solarise[i] else x


@pytest.mark.parametrize(
    "name",
    ["cifar", "stl10", "cifar(crop=0.2, jitter=0.4, grayscale=0.1, blur=0.5, solarise=0.3)", "stl10(strength=0.5, kernel=5)"],
)
def test_it_equals_torchvision_per_image(name, seed):
    recipe = recipe_for(name, "", 32)
    batch = images()
    p = draw(recipe, len(batch), 32, torch.Generator().manual_seed(seed))
    ours = apply(batch, p, recipe, normalise=False)
    for i, image in enumerate(batch):
        difference = (ours[i] - torchvision_one(image, p, i, recipe)).abs().max().item()
        assert difference <= TOLERANCE, (name, i, difference, p.order[i].tolist())


@pytest.mark.parametrize("name", ["cifar", "stl10", "digits", "none", "cifar(blur=0.5, solarise=0.3)"])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_views_at_once_are_bit_for_bit_what_each_is_alone(name, channels, seed):
    recipe, batch, generator = recipe_for(name, "", 32), images(channels=channels), torch.Generator().manual_seed(seed)
    views = [draw(recipe, len(batch), 32, generator) for _ in range(2)]
    together = apply(batch, Parameters(*(torch.cat(pair) for pair in zip(*views, strict=True))), recipe)
    assert torch.equal(together, torch.cat([apply(batch, p, recipe) for p in views]))


def test_hue_equals_torchvision(seed):
    x = torch.rand(8, 3, 5, 5)
    x[0] = 0.5  # grey has no hue
    shift = torch.linspace(-0.5, 0.5, 8)
    expected = torch.stack([tv.adjust_hue(image, s.item()) for image, s in zip(x, shift, strict=True)])
    torch.testing.assert_close(shift_hue(x, shift), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [5, 12, 96])
def test_blur_equals_torchvision_up_to_the_border(size):
    x, sigma = torch.rand(3, 1, size, size), torch.tensor([0.1, 0.8, 2.0])
    kernel = blur_matrix(sigma, 9, size)
    ours = kernel[:, None] @ x @ kernel[:, None].transpose(2, 3)
    expected = torch.stack([tv.gaussian_blur(image, [9, 9], [s.item()] * 2) for image, s in zip(x, sigma, strict=True)])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_normalisation_is_the_datasets():
    x = to_float(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), recipe_for("cifar", "", 32))
    assert x[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), strict=True)]
    )


def test_the_recipe_none_changes_nothing():
    batch = images()
    p = draw(recipe_for("none", "", 32), len(batch), 32, torch.Generator().manual_seed(0))
    torch.testing.assert_close(apply(batch, p, recipe_for("none", "", 32)), batch.float() / 255, atol=1e-6, rtol=0)


def test_one_channel_images_keep_their_shape(seed):
    batch, recipe = images(channels=1, size=8), recipe_for("digits", "", 8)
    x = apply(batch, draw(recipe, len(batch), 8, torch.Generator().manual_seed(seed)), recipe)
    assert x.shape == batch.shape
    assert x.isfinite().all()


def test_a_colour_recipe_takes_grey_images(seed):
    batch, recipe = images(channels=1, size=8), recipe_for("cifar", "", 8)
    x = apply(batch, draw(recipe, len(batch), 8, torch.Generator().manual_seed(seed)), recipe)
    assert x.shape == batch.shape


def test_the_recipe_follows_the_dataset():
    assert recipe_for("auto", "digits", 8) == recipe_for("digits", "", 8)
    assert recipe_for("auto", "cifar10", 32) == recipe_for("cifar", "", 32)
    assert recipe_for("auto", "stl10", 96) == recipe_for("stl10", "", 96)


def test_a_call_string_sets_the_recipes_numbers(seed):
    recipe = recipe_for("cifar(crop=0.2, jitter=0.4, hue=0.2, strength=0.5, grayscale=0.1, blur=0.5, normalise=False)", "", 64)
    assert (recipe.crop_scale, recipe.grayscale, recipe.blur, recipe.blur_kernel) == ((0.2, 1.0), 0.1, 0.5, 7)
    assert recipe.jitter == pytest.approx((0.2, 0.2, 0.2, 0.1))
    assert (recipe.mean, recipe.std) == ((0.0,), (1.0,))
    n = 4000
    p = draw(recipe_for("cifar(blur=0.3, solarise=0.2)", "", 32), n, 32, torch.Generator().manual_seed(seed))
    for drawn, share in ((p.blur, 0.3), (p.solarise, 0.2)):
        assert abs(drawn.float().mean().item() - share) < 5 * math.sqrt(share * (1 - share) / n)


def test_what_is_certain_draws_no_number(seed):
    """So that the trials of the time before blur and solarisation had probabilities see the same images."""
    fresh = [torch.Generator().manual_seed(seed) for _ in range(2)]
    draw(recipe_for("cifar", "", 32), 10, 32, fresh[0])
    draw(recipe_for("cifar(blur=1, solarise=1)", "", 32), 10, 32, fresh[1])
    assert torch.equal(fresh[0].get_state(), fresh[1].get_state())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cifra", "no augmentation 'cifra'; did you mean 'cifar'"),
        ("cifar(crops=0.2)", "augmentation 'cifar' has no hyper-parameter 'crops'; did you mean 'crop'"),
        ("cifar(crop=0)", "expected crop > 0 and <= 1, got crop=0"),
        ("cifar(flip=1.5)", "expected flip >= 0 and <= 1"),
        ("cifar(hue=0.6)", "expected hue >= 0 and <= 0.5"),
        ("none(crop=1)", "it takes none"),
    ],
)
def test_mistakes_are_one_line(text, says):
    with pytest.raises(ConfigError, match=says):
        TrialConfig(augmentation=text)


def test_a_kernel_that_does_not_suit_the_images_is_refused():
    for kernel in (4, 65):
        with pytest.raises(UserError, match=f"expected kernel to be odd and below 64, .* got kernel={kernel}"):
            recipe_for(f"cifar(kernel={kernel})", "", 32)


def test_digests_of_augmentations():
    assert TrialConfig(augmentation="cifar(crop=0.08)").digest == TrialConfig(augmentation="cifar").digest
    assert TrialConfig(augmentation="cifar(crop=0.2)").digest != TrialConfig(augmentation="cifar").digest


def test_drawn_parameters_follow_torchvisions_distributions(seed):
    """Two-sample Kolmogorov-Smirnov tests at level 1e-6 each; a right implementation fails once in about 10^5 runs."""
    n, size, recipe = 4000, 32, recipe_for("cifar", "", 32)
    p = draw(recipe, n, size, torch.Generator().manual_seed(seed))
    boxes = torch.tensor(
        [RandomResizedCrop.get_params(torch.empty(3, size, size), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    )
    for column in range(4):
        assert _ks(p.crop[:, column], boxes[:, column]) < _critical(n), "top, left, height, width"[column]
    for column, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1)]):
        assert _ks(p.factors[:, column], torch.empty(n).uniform_(low, high)) < _critical(n)
    assert _ks(
        draw(recipe_for("stl10", "", 32), n, size, torch.Generator().manual_seed(seed)).sigma, torch.empty(n).uniform_(0.1, 2)
    ) < _critical(n)
    for drawn, share in ((p.flip, 0.5), (p.jitter, 0.8), (p.grayscale, 0.2)):
        assert abs(drawn.float().mean().item() - share) < 5 * math.sqrt(share * (1 - share) / n)
    tally = collections.Counter(tuple(row) for row in p.order.tolist())
    chi_square = sum((count - n / 24) ** 2 / (n / 24) for count in tally.values()) + (24 - len(tally)) * n / 24
    assert chi_square < 76.2  # 1 - 1e-6 quantile of chi-square with 23 degrees of freedom


@pytest.mark.parametrize(("scale", "ratio", "size"), [((0.08, 1), (3 / 4, 4 / 3), 96), ((0.05, 0.3), (1 / 3, 3), 48)])
def test_boxes_follow_torchvisions_joint_distribution(seed, scale, ratio, size):
    """What the sides and the place of a box have in common: five Kolmogorov-Smirnov tests at level 1e-6 each."""
    n = 4000
    ours = draw(Recipe(crop_scale=scale, crop_ratio=ratio), n, size, torch.Generator().manual_seed(seed)).crop
    theirs = torch.tensor([RandomResizedCrop.get_params(torch.empty(3, size, size), scale, ratio) for _ in range(n)])
    for name, of_box in {
        "area": lambda top, left, height, width: height * width,
        "aspect ratio": lambda top, left, height, width: width / height,
        "top, as a share of the room": lambda top, left, height, width: (top + 0.5) / (size - height + 1),
        "left, as a share of the room": lambda top, left, height, width: (left + 0.5) / (size - width + 1),
        "distance of the corner": lambda top, left, height, width: (top + left) * height,
    }.items():
        assert _ks(*(of_box(*boxes.double().unbind(dim=1)) for boxes in (ours, theirs))) < _critical(n), name


def test_parameters_are_independent(seed):
    """No two parameters of an image, nor one of two images that follow each other, are correlated.

    Correlations of n independent pairs are near normal with deviation 1/sqrt(n); beyond 6 of them lies 2e-9 of the mass, and
    there are 210 of them here: a right implementation fails once in some 10^6 runs.
    """
    n = 8000
    p = draw(recipe_for("stl10", "", 32), n, 32, torch.Generator().manual_seed(seed))
    crop = p.crop.double()
    place = (crop[:, :2] + 0.5) / (33 - crop[:, 2:])  # of the corner, as a share of the room
    first = (p.order == 0).double().argmax(dim=1, keepdim=True)  # when brightness is applied
    drawn = [place, crop[:, 2:].prod(dim=1, keepdim=True), p.factors, first]
    columns = torch.cat(
        [x.double() for x in drawn] + [x.double()[:, None] for x in (p.flip, p.jitter, p.grayscale, p.sigma)], dim=1
    )
    names = ["top", "left", "area", "brightness", "contrast", "saturation", "hue", "order", "flip", "jitter", "grey", "sigma"]
    across = torch.cat([columns[1:], columns[:-1]], dim=1).T.corrcoef()  # an image beside the one before it
    count = len(names)
    for i in range(count):
        for j in range(2 * count):
            if i < j:
                assert abs(across[i, j]) < 6 / math.sqrt(n), (names[i], names[j % count], "of the image before" * (j >= count))


def _ks(a, b):
    grid = torch.cat([a, b]).double().unique()
    cdf = [torch.searchsorted(x.double().sort().values, grid, right=True) / len(x) for x in (a, b)]
    return (cdf[0] - cdf[1]).abs().max().item()


def _critical(n, level=1e-6):
    return math.sqrt(-math.log(level / 2) / n)


def test_boxes_lie_within_the_image(seed):
    p = draw(Recipe(crop_scale=(0.01, 1), crop_ratio=(0.2, 5)), 2000, 17, torch.Generator().manual_seed(seed))
    top, left, height, width = p.crop.unbind(dim=1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top + height <= 17).all()
    assert (left + width <= 17).all()
