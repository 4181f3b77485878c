"""Networks that start from given weights."""

import pytest
import safetensors.torch
import torch
import torchvision

from autos.errors import UserError
from autos.network.initialize import initialize
from autos.network.pretrained import load_pretrained, weights_digest
from autos.network.spec import NetworkConfig
from models import ARCHITECTURES


def lenet(classes, seed=0, channels=1):
    build = ARCHITECTURES["lenet_5"]
    model = build(num_classes=classes, in_channels=channels, image_size=28, width=1.0)
    return initialize(model, seed)


def saved(model, path):
    safetensors.torch.save_file(model.state_dict(), path)
    return str(path)


def test_weights_of_the_same_network_are_taken_to_the_last_bit(tmp_path):
    source = lenet(10, seed=1)
    model = lenet(10, seed=2)
    load_pretrained(model, saved(source, tmp_path / "w.safetensors"))
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_head_for_other_classes_keeps_its_own_weights(tmp_path):
    source, model = lenet(10, seed=1), lenet(4, seed=2)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = saved(source, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"fc3\.weight is \(10, 84\) there and \(4, 84\)"):
        load_pretrained(model, path)
    load_pretrained(model, path, new_head=True)
    *_, head_weight, head_bias = own
    for name, tensor in model.state_dict().items():
        expected = own if name in (head_weight, head_bias) else source.state_dict()
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv1.bias"), r"conv1\.bias is absent there and \(6,\) in"),
        (lambda state: state.update(extra=torch.ones(2)), r"extra is \(2,\) there and absent in"),
        (
            lambda state: state.update({"conv1.weight": torch.ones(7, 1, 5, 5)}),
            r"conv1\.weight is \(7, 1, 5, 5\) there and \(6, 1, 5, 5\) in the network",
        ),
        (
            lambda state: state.update({"fc3.weight": torch.ones(10, 83)}),
            r"fc3\.weight is \(10, 83\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(tmp_path, change, message):
    state = dict(lenet(10).state_dict())
    change(state)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    model = lenet(10, seed=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_pretrained(model, str(path), new_head=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"weights none\.safetensors: not found"):
        load_pretrained(lenet(10), "none.safetensors")
    with pytest.raises(UserError, match=r"not found"):
        weights_digest("none.safetensors")
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        load_pretrained(lenet(10), str(path))
    with pytest.raises(UserError, match="torchvision has no such weights; expected for example"):
        load_pretrained(lenet(10), "torchvision:ResNet18_Weights.NONE")


def test_weights_of_torchvision_are_taken_from_where_torch_keeps_them(tmp_path, monkeypatch):
    """No network is needed for those that were downloaded before."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    source = initialize(torchvision.models.resnet18(), seed=4)
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(source.state_dict(), cache / weights.url.rpartition("/")[2])
    build = ARCHITECTURES["resnet_18_imagenet"]
    model = initialize(build(num_classes=5, in_channels=3, image_size=64, width=1.0), 5)
    head = model.fc.weight.clone()
    load_pretrained(model, f"torchvision:{weights}", new_head=True)
    assert torch.equal(model.conv1.weight, source.conv1.weight)
    assert torch.equal(model.fc.weight, head)


def test_a_network_by_its_settings_starts_from_them_and_is_identified_by_them(images, tmp_path):
    settings = {"architecture": "lenet_300_100", "images": "tiny"}
    plain = NetworkConfig(**settings)
    path = saved(plain.build(images, seed=1), tmp_path / "w.safetensors")
    pretrained = NetworkConfig(**settings, weights=path)
    one, two = (pretrained.build(images, seed=seed).state_dict() for seed in (2, 3))
    for name, tensor in plain.build(images, seed=1).state_dict().items():
        assert torch.equal(one[name], tensor) and torch.equal(two[name], tensor), name
    assert plain.digests().keys() == {"architecture"}
    before = pretrained.digests()
    saved(plain.build(images, seed=2), tmp_path / "w.safetensors")
    assert pretrained.digests() != before
