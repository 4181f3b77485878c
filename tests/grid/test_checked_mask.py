"""Sanity checks of a cell: what is randomised and what stays."""

import pytest
import torch

from autos.grid.checks import CheckSettings, checked_mask
from autos.grid.mask_result import described, found_in
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.methods.base import Found
from autos.network.spec import NetworkConfig
from autos.pruning import prune
from autos.storage.tensors import write_tensors
from autos.work.units import KIND, VERSION, read_result

NETWORK = NetworkConfig(architecture="lenet_300_100", width=0.1, images="tiny")


@pytest.fixture
def model(images):
    return NETWORK.build(images, seed=3)


@pytest.fixture
def found(model):
    generator = torch.Generator().manual_seed(0)
    keep = {
        name: torch.rand(weight.shape, generator=generator) < 0.3
        for name, weight in model.named_parameters()
        if name.endswith("weight")
    }
    return Found(Mask(keep))


@pytest.fixture
def check(tmp_path, image_store):
    def run(found, check, seed=3):
        path = tmp_path / "mask.safetensors"
        result = described(found, cost={})
        write_tensors(path, result.tensors, kind=KIND, version=VERSION, about=dict(result.about))
        cell = CheckSettings(network=NETWORK, images=image_store, mask=path, check=check, seed=seed)
        return found_in(checked_mask(cell))

    return run


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one) and list(one) == list(two)


def test_a_result_tells_what_was_found(found, model, tmp_path):
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = Found(found.mask, start, step=7, trained=True)
    path = tmp_path / "x.safetensors"
    result = described(whole)
    write_tensors(path, result.tensors, kind=KIND, version=VERSION, about=dict(result.about))
    again = found_in(read_result(path))
    assert same(again.mask.keep, found.mask.keep) and same(again.start, start)
    assert (again.step, again.trained) == (7, True)
    assert found_in(described(found)).start is None


def test_shuffle_moves_the_mask_and_leaves_the_weights(found, check):
    shuffled = check(found, "shuffle")
    assert shuffled.start is None
    assert shuffled.mask.layer_densities() == found.mask.layer_densities()
    assert not same(shuffled.mask.keep, found.mask.keep)


def test_reinitialise_leaves_the_mask_and_permutes_the_weights_of_each_layer(found, check, model):
    other = check(found, "reinitialise")
    assert same(other.mask.keep, found.mask.keep)
    for name, tensor in model.state_dict().items():
        if name in found.mask.keep:
            assert not torch.equal(other.start[name], tensor)
            assert torch.equal(
                other.start[name].flatten().sort().values, tensor.flatten().sort().values
            )
        else:
            assert torch.equal(other.start[name], tensor)


def test_a_random_ticket_has_other_positions_and_other_weights(found, check, model):
    ticket = check(found, "random_ticket")
    assert ticket.mask.layer_densities() == found.mask.layer_densities()
    assert not same(ticket.mask.keep, found.mask.keep)
    assert not torch.equal(ticket.start["fc1.weight"], model.fc1.weight)


def test_the_start_that_a_method_has_chosen_is_what_is_permuted(found, check, model):
    start = {name: tensor.sign() for name, tensor in model.state_dict().items()}
    checked = Found(found.mask, start, step=5)
    assert check(checked, "shuffle").step == check(checked, "reinitialise").step == 5
    assert same(check(checked, "shuffle").start, start)
    assert set(check(checked, "reinitialise").start["fc1.weight"].unique().tolist()) == {-1.0, 1.0}


def test_what_was_trained_under_the_mask_is_not_taken_to_another_one(found, check, model):
    trained = Found(found.mask, dict(model.state_dict()), step=9, trained=True)
    other = check(trained, "shuffle")
    assert (other.start, other.step, other.trained) == (None, 0, False)


def test_the_seed_decides(found, check):
    one, same_seed, other = (check(found, "shuffle", seed=seed) for seed in (1, 1, 2))
    assert same(one.mask.keep, same_seed.mask.keep)
    assert not same(one.mask.keep, other.mask.keep)


@pytest.mark.parametrize("seed", [0, 3])
def test_random_positions_stay_random(check, model, batches, seed):
    """A layer-wise random mask draws permutations, too, and begins with the same seed."""
    found = Found(prune(model, METHODS["erk"], batches, density=0.2, seed=seed))
    for name in ("shuffle", "random_ticket"):
        keep = check(found, name, seed=seed).mask.keep["fc1.weight"].flatten()
        share = keep.double().mean()
        halves = torch.stack([half.double().mean() for half in keep.chunk(2)])
        spread = (share * (1 - share) / (len(keep) / 2)).sqrt()
        assert ((halves - share).abs() < 4 * spread).all()
