"""The one training loop."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline import training
from pipeline.compute import Hardware
from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.prunable import prunable
from pipeline.recipes import TrainConfig
from pipeline.training import accuracy, fit

CPU = Hardware(accelerator="cpu")
SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}
ADAM = {"optimizer": "adam", "lr": 3e-3, "weight_decay": 1e-2}
STEPS = {"schedule": "multistep", "milestones": [1, 2], "gamma": 0.3}
COSINE = {"schedule": "cosine"}
NAMES = ["mlp", "conv_net"]


def recipe(**settings):
    """Three epochs of 75 images in batches of 20, 20, 20 and 15."""
    return TrainConfig(**{"epochs": 3, "batch_size": 20, **SGD, **COSINE} | settings)


@pytest.fixture(params=NAMES)
def network(request):
    return request.getfixturevalue(request.param)


def half(model):
    generator = torch.Generator().manual_seed(0)
    weights = prunable(model)
    return Mask({n: torch.rand(w.shape, generator=generator) < 0.5 for n, w in weights.items()})


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_pruned_weights_are_exactly_zero_in_every_forward_pass_and_at_the_end(
    network, images, optimizer
):
    mask, passes = half(network), []

    def look(module, inputs):
        weights = prunable(module).items()
        passes.append(any(bool((w[~mask.keep[name]] != 0).any()) for name, w in weights))

    before = copy.deepcopy(network.state_dict())
    handle = network.register_forward_pre_hook(look)
    config = recipe(**{"momentum": 0, "nesterov": False} | optimizer)
    fit(network, images, config, seed=0, mask=mask, hardware=CPU)
    handle.remove()
    assert len(passes) == 3 * (4 + 1)  # the validation images are one more batch
    assert not any(passes)
    for name, weight in prunable(network).items():
        kept = mask.keep[name]
        assert bool((weight[~kept] == 0).all()), name
        assert bool((weight[kept] != before[name][kept]).all()), name


@pytest.mark.parametrize("schedule", [STEPS, COSINE], ids=["multistep", "cosine"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_is_the_plain_loop_in_torch(network, images, optimizer, schedule):
    config = recipe(**{"momentum": 0, "nesterov": False} | optimizer | schedule)
    mask = half(network)
    plain = copy.deepcopy(network).to(memory_format=torch.channels_last)

    settings = {key: value for key, value in optimizer.items() if key != "optimizer"}
    kind = torch.optim.SGD if optimizer is SGD else torch.optim.Adam
    optimiser = kind(plain.parameters(), **settings, fused=True)
    if schedule is STEPS:
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [4, 8], gamma=0.3)
    else:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 12)
    order = torch.Generator().manual_seed(7)
    losses, accuracies = [], []
    mask.apply_(plain)
    for _ in range(3):
        total = 0.0
        for part in torch.randperm(75, generator=order).split(20):
            optimiser.zero_grad()
            logits = plain(images.normalize(images.train.images[part]))
            loss = F.cross_entropy(logits, images.train.labels[part])
            loss.backward()
            optimiser.step()
            scheduler.step()
            mask.apply_(plain)
            total += loss.item() * len(part)
        losses.append(total / 75)
        with torch.no_grad():
            guess = plain.eval()(images.normalize(images.validation.images)).argmax(dim=1)
        plain.train()
        accuracies.append(float((guess == images.validation.labels).float().mean()))

    history = fit(network, images, config, seed=7, mask=mask, hardware=CPU)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert history.train_loss == pytest.approx(losses, rel=1e-6)  # summed in float32
    assert history.validation_accuracy == pytest.approx(accuracies)
    assert history.train_loss[-1] < history.train_loss[0]


def test_learns_what_can_be_learned(conv_net, images):
    config = recipe(epochs=15, lr=0.05)
    history = fit(conv_net, images, config, seed=0, hardware=CPU)
    assert len(history.train_loss) == len(history.validation_accuracy) == 15
    assert history.validation_accuracy[-1] == accuracy(conv_net, images, images.validation)
    assert accuracy(conv_net, images, images.test) > 0.9


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_the_seed_and_nothing_else_decides_every_bit(mlp, images, augmentation):
    model = nn.Sequential(mlp, nn.Dropout(0.2))
    config = recipe(augmentation=augmentation)

    def trained(seed, state):
        network = copy.deepcopy(model)
        torch.manual_seed(state)
        before = torch.get_rng_state()
        fit(network, images, config, seed=seed, hardware=CPU)
        assert torch.equal(torch.get_rng_state(), before)
        return network.state_dict()

    one = trained(seed=0, state=1)
    assert same(one, trained(seed=0, state=2))
    assert not same(one, trained(seed=1, state=1))


def test_arithmetic_is_the_same_before_and_after_training(mlp, images):
    fit(mlp, images, recipe(epochs=1), seed=0, hardware=CPU)
    assert float(torch.tensor(1e-40) * 1) > 0  # denormal numbers are zero only inside


def test_a_mask_of_another_network_is_refused(mlp, conv_net, images):
    with pytest.raises(UserError, match="mask does not fit the model"):
        fit(mlp, images, recipe(), seed=0, mask=Mask.dense(conv_net), hardware=CPU)


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(mlp, images):
    with pytest.raises(UserError, match=r"loss is (nan|inf) in epoch 1: lower .* \(lr is 1e\+06\)"):
        fit(mlp, images, recipe(lr=1e6), seed=0, hardware=CPU)
    assert float(torch.tensor(1e-40) * 1) > 0


@pytest.mark.parametrize(
    ("hardware", "problem"),
    [
        ({"accelerator": "warp"}, "invalid accelerator name"),
        ({"accelerator": "tpu"}, "torch_xla"),
        ({"accelerator": "cpu", "devices": [0]}, "`devices` selected with `CPUAccelerator`"),
    ],
)
def test_hardware_that_is_not_there_is_refused_by_its_section(mlp, images, hardware, problem):
    with pytest.raises(UserError, match=rf"^params\.yaml: compute: .*{problem}"):
        fit(mlp, images, recipe(), seed=0, hardware=Hardware(**hardware))


@pytest.mark.parametrize("training_mode", [True, False])
def test_accuracy_is_measured_in_eval_mode_and_leaves_the_model_alone(
    conv_net, images, training_mode
):
    conv_net.train()(images.normalize(images.train.images))  # moves the running statistics
    conv_net.train(training_mode)
    before = copy.deepcopy(conv_net.state_dict())
    measured = accuracy(conv_net, images, images.test)
    assert conv_net.training == conv_net.bn1.training == training_mode
    assert same(conv_net.state_dict(), before)
    with torch.no_grad():
        guess = conv_net.eval()(images.normalize(images.test.images)).argmax(dim=1)
    assert measured == float((guess == images.test.labels).double().mean())


def test_accuracy_does_not_depend_on_the_batch_size(conv_net, images, monkeypatch):
    whole = accuracy(conv_net, images, images.test)
    monkeypatch.setattr(training, "EVALUATION_BATCH", 7)
    assert accuracy(conv_net, images, images.test) == whole > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**ADAM, "momentum": 0.9}, "momentum and nesterov belong to optimizer 'sgd'"),
        ({"schedule": "cosine", "milestones": [1]}, "milestones belong to schedule 'multistep'"),
        ({"augmentation": "crop-flip"}, "did you mean 'crop_flip'"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        recipe(**{"momentum": 0, "nesterov": False} | settings)
