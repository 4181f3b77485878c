"""Augmentations of batches of images."""

import pytest
import torch

from autos.images.augmentation import AUGMENTATIONS, PADDING, crop_flip

SIDE = 8


@pytest.fixture
def pixels():
    """No two pixels of an image alike, so that a window has one place only."""
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(400, SIDE * SIDE * 2, generator=generator).argsort(dim=1)
    return (order + 1).to(torch.uint8).view(400, SIDE, SIDE, 2)


def windows(pixels):
    """Every possible crop: ((row, column, flipped), [n, height, width, channels])."""
    n, height, width, channels = pixels.shape
    padded = torch.zeros(n, height + 2 * PADDING, width + 2 * PADDING, channels, dtype=torch.uint8)
    padded[:, PADDING:-PADDING, PADDING:-PADDING] = pixels
    for row in range(2 * PADDING + 1):
        for column in range(2 * PADDING + 1):
            window = padded[:, row : row + height, column : column + width]
            yield (row, column, False), window
            yield (row, column, True), window.flip(2)


def test_crop_flip_gives_each_image_a_window_of_its_own(pixels):
    out = crop_flip(pixels, torch.Generator().manual_seed(0))
    assert out.shape == pixels.shape and out.dtype == torch.uint8
    found = torch.zeros(len(pixels), dtype=torch.long)
    seen = []
    for place, window in windows(pixels):
        match = (out == window).flatten(1).all(dim=1)
        found += match
        seen += [place] * int(match.sum())
    assert bool((found == 1).all())
    rows, columns, flips = zip(*seen, strict=True)
    assert set(rows) == set(columns) == set(range(9))
    assert 140 < sum(flips) < 260  # six standard deviations around 200
    assert len(set(seen)) > 140  # of 162: places are drawn independently


def test_crop_flip_repeats_with_the_generator_and_leaves_its_input(pixels):
    before = pixels.clone()
    one, again, other = (crop_flip(pixels, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(pixels, before)


def test_none_gives_the_images_back_and_draws_nothing(pixels):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(AUGMENTATIONS["none"](pixels, generator), pixels)
    assert torch.equal(generator.get_state(), before)
