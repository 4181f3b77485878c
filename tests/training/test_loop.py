"""The one training loop."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from autos.compute import Hardware
from autos.errors import UserError
from autos.images import loaders
from autos.images.loaders import ShuffledImages
from autos.masks.mask import Mask
from autos.network.cost import counting
from autos.network.prunable import prunable
from autos.training.callbacks import Callback
from autos.training.loop import accuracy, fit, train
from autos.training.recipe import TrainConfig

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
    with pytest.raises(UserError, match=rf"^compute: .*{problem}"):
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
    monkeypatch.setattr(loaders, "EVALUATION_BATCH", 7)
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


# --- parts of a schedule ---

PLAIN = {"momentum": 0, "nesterov": False}


@pytest.fixture
def epoch(images):
    """All training images, in batches of 20, 20, 20 and 15."""
    pixels = images.normalize(images.train.images)
    return list(zip(pixels.split(20), images.train.labels.split(20), strict=True))


@pytest.fixture
def forms(images, epoch):
    """Makes batches of a form, anew for every training."""
    whole = TensorDataset(*(torch.cat(parts) for parts in zip(*epoch, strict=True)))
    options = {"batch_size": recipe().batch_size, "augmentation": "crop_flip", "seed": 1}
    return {
        "pairs": lambda: epoch,
        "dictionaries": lambda: [{"input": x, "labels": y} for x, y in epoch],
        "loader": lambda: DataLoader(whole, batch_size=20, shuffle=True),
        "images": lambda: ShuffledImages(images, **options),
    }


def trained(model, batches, *parts, config=None, **options):
    """The state after training a copy, in the parts of the schedule that are given."""
    network = copy.deepcopy(model)
    config = config or recipe(**PLAIN)
    for first, last in parts or [(0, None)]:
        train(
            network,
            batches,
            config,
            steps_per_epoch=4,
            seed=0,
            hardware=CPU,
            first_step=first,
            last_step=last,
            **options,
        )
    return network.state_dict()


class Record(Callback):
    """The learning rate, the order of the calls, and what the callbacks see."""

    def __init__(self, log, name=""):
        self.log, self.name = log, name

    def note(self, call, loop):
        rate = loop.optimizer.param_groups[0]["lr"]
        self.log.append((self.name, call, loop.step, rate))

    def on_start(self, loop):
        self.note("on_start", loop)

    def penalty(self, loop):
        self.note("penalty", loop)
        return 0.0

    def before_step(self, loop):
        self.note("before_step", loop)

    def after_step(self, loop):
        self.note("after_step", loop)


@pytest.mark.parametrize("step", [1, 4, 6, 8, 11])
@pytest.mark.parametrize("schedule", [STEPS, COSINE], ids=["multistep", "cosine"])
def test_two_parts_of_a_schedule_are_one_training(network, epoch, schedule, step):
    config = recipe(**PLAIN | schedule)
    mask = half(network)
    whole = trained(network, epoch, config=config, mask=mask)
    parts = trained(network, epoch, (0, step), (step, None), config=config, mask=mask)
    assert same(whole, parts)
    assert not same(whole, trained(network, epoch, (0, step), config=config, mask=mask))


@pytest.mark.parametrize("form", ["pairs", "dictionaries", "loader", "images"])
def test_parts_resume_the_order_of_batches_of_any_form(mlp, forms, form):
    model = nn.Sequential(mlp)  # its forward argument is called input
    whole = trained(model, forms[form]())
    assert same(whole, trained(model, forms[form]()))
    batches = forms[form]()
    assert same(whole, trained(model, batches, (0, 2), (2, 4), (4, 7), (7, 9), (9, 99)))
    assert not same(whole, trained(model, batches, (0, 2), (0, 10)))


def test_a_part_has_the_learning_rates_and_batches_of_its_steps(mlp, epoch):
    def steps(*part):
        log, seen = [], []

        def loss(output, batch):
            seen.extend(index for index, given in enumerate(epoch) if batch[1] is given[1])
            return F.cross_entropy(output, batch[1])

        config = recipe(**PLAIN, **STEPS)
        trained(mlp, epoch, part, config=config, loss=loss, callbacks=[Record(log)])
        rates = [rate for _, call, _, rate in log if call == "before_step"]
        return list(zip(seen, rates, strict=True))

    whole = [(step % 4, pytest.approx(0.1 * 0.3 ** (step // 4))) for step in range(12)]
    assert steps(0, None) == whole
    assert steps(0, 3) == whole[:3]
    assert steps(3, 9) == whole[3:9]
    assert steps(9, None) == whole[9:]
    assert steps(9, 50) == whole[9:]


@pytest.mark.parametrize("part", [(0, 0), (5, 5), (5, 3), (12, None), (20, None)])
def test_a_part_without_steps_changes_nothing(mlp, epoch, part):
    log = []
    assert same(trained(mlp, epoch, part, callbacks=[Record(log)]), mlp.state_dict())
    assert log == []


def test_returns_the_mean_loss_of_the_samples_of_every_epoch_begun(mlp, epoch):
    options = {"steps_per_epoch": 4, "seed": 0, "hardware": CPU}
    losses = []

    def loss(output, batch):
        losses.append((F.cross_entropy(output, batch[1]).item(), len(batch[1])))
        return F.cross_entropy(output, batch[1])

    returned = train(mlp, epoch, recipe(**PLAIN), loss=loss, first_step=2, last_step=9, **options)

    def mean(part):
        return pytest.approx(sum(v * n for v, n in part) / sum(n for _, n in part), rel=1e-6)

    assert returned == [mean(losses[:2]), mean(losses[2:6]), mean(losses[6:])]


@pytest.mark.parametrize(("part", "samples"), [((0, None), 225), ((6, 9), 55), ((4, 5), 20)])
def test_the_cost_is_the_samples_that_are_trained_on_and_not_those_skipped(
    mlp, epoch, part, samples
):
    with counting() as cost:
        trained(mlp, epoch, part)
    assert (cost().forward, cost().backward) == (samples, samples)


# --- callbacks ---


def test_callbacks_take_turns_in_their_order(mlp, epoch):
    log = []
    trained(mlp, epoch, (5, 7), callbacks=[Record(log, "a"), Record(log, "b")])
    calls = [(name, call, step) for name, call, step, _ in log]
    expected = [("on_start", 5)]
    for step in (5, 6):
        expected += [("penalty", step), ("before_step", step), ("after_step", step + 1)]
    assert calls == [(name, call, step) for call, step in expected for name in "ab"]


def test_callbacks_that_do_nothing_change_no_bit(network, epoch):
    mask = half(network)
    for options in ({}, {"mask": mask}):
        watched = trained(network, epoch, callbacks=[Callback(), Record([])], **options)
        assert same(trained(network, epoch, **options), watched)


def test_a_callback_sees_the_training_as_it_is(mlp, epoch):
    mask, seen = half(mlp), []

    class Look(Callback):
        def on_start(self, loop):
            assert (loop.step, loop.steps, loop.steps_per_epoch) == (2, 12, 4)
            assert list(loop.weights) == list(loop.keep) == ["fc1.weight", "fc2.weight"]
            for name, weight in loop.model.named_parameters():
                assert name not in loop.weights or loop.weights[name] is weight
            assert all(torch.equal(loop.keep[n].bool(), k) for n, k in mask.keep.items())

        def before_step(self, loop):
            for name, weight in loop.weights.items():
                pruned = ~mask.keep[name]
                assert bool((weight[pruned] == 0).all())
                seen.append(bool(weight.grad[pruned].any()))  # a gradient they have

        def after_step(self, loop):
            moved = [(loop.weights[n][~keep] != 0).any() for n, keep in mask.keep.items()]
            seen.append(all(moved))  # they are not yet 0

    end = trained(mlp, epoch, (2, 5), mask=mask, callbacks=[Look()])
    assert seen == [True] * 9
    assert all(bool((end[name][~keep] == 0).all()) for name, keep in mask.keep.items())


def test_without_a_mask_callbacks_see_no_weights(mlp, epoch):
    class Look(Callback):
        def on_start(self, loop):
            assert loop.weights == loop.keep == {}

    nn.utils.parametrizations.weight_norm(mlp.fc1)  # `prunable` would refuse it
    trained(mlp, epoch, (0, 1), callbacks=[Look()])


def test_a_mask_changed_in_a_callback_holds_from_the_next_forward_pass(mlp, epoch):
    passes = []

    class Change(Callback):
        def on_start(self, loop):
            loop.keep["fc1.weight"][:, 0] = 0

        def after_step(self, loop):
            if loop.step == 2:
                loop.keep["fc1.weight"][:, 1] = 0
            if loop.step == 4:
                loop.keep["fc1.weight"][:, 0] = 1

    mlp.register_forward_pre_hook(
        lambda model, _: passes.append([bool(inputs.any()) for inputs in model.fc1.weight.T[:3]])
    )
    end = trained(mlp, epoch, (0, 6), mask=Mask.dense(mlp), callbacks=[Change()])
    # The one that comes back has the value of the update that was just made.
    assert passes == [
        [False, True, True],
        [False, True, True],
        [False, False, True],
        [False, False, True],
        [True, False, True],
        [True, False, True],
    ]
    assert not end["fc1.weight"][:, 1].any()


def test_penalties_are_added_to_the_loss_but_not_to_its_mean(conv_net, epoch):
    class Decay(Callback):
        def __init__(self, factor):
            self.factor = factor

        def penalty(self, loop):
            return self.factor * loop.model.fc.weight.square().sum()

    def loss(output, batch):
        model = networks[-1]
        return F.cross_entropy(output, batch[1]) + 0.03 * model.fc.weight.square().sum()

    options = {"steps_per_epoch": 4, "seed": 0, "hardware": CPU, "last_step": 1}
    networks = [copy.deepcopy(conv_net), copy.deepcopy(conv_net), copy.deepcopy(conv_net)]
    callbacks = [Decay(0.01), Decay(0.02)]
    (reported,) = train(networks[0], epoch, recipe(**PLAIN), callbacks=callbacks, **options)
    (plain,) = train(networks[1], epoch, recipe(**PLAIN), **options)
    (higher,) = train(networks[2], epoch, recipe(**PLAIN), loss=loss, **options)
    assert reported == plain < higher
    assert not torch.equal(networks[0].fc.weight, networks[1].fc.weight)
    for name, tensor in networks[2].state_dict().items():
        torch.testing.assert_close(networks[0].state_dict()[name], tensor)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_without_a_gradient_a_parameter_is_not_updated(mlp, epoch, optimizer):
    before = []

    class Freeze(Callback):
        def before_step(self, loop):
            if loop.step >= 2:  # momentum and weight decay would move it
                before.append(loop.model.fc1.weight.detach().clone())
                loop.model.fc1.weight.grad = None

    config = recipe(**{**PLAIN, **optimizer})
    end = trained(mlp, epoch, (0, 5), config=config, callbacks=[Freeze()])
    assert not torch.equal(before[0], mlp.fc1.weight)
    assert all(torch.equal(weight, end["fc1.weight"]) for weight in before)
    assert not torch.equal(end["fc2.weight"], mlp.fc2.weight)


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("last", [4, 5, 8])
def test_a_callback_can_make_a_step_the_last(mlp, epoch, first, last):
    class Stop(Record):
        def after_step(self, loop):
            super().after_step(loop)
            loop.stop = loop.step == last

    log = []
    end = trained(mlp, epoch, (first, None), callbacks=[Stop(log)])
    assert log[-1][2] == last
    assert same(end, trained(mlp, epoch, (first, last)))
