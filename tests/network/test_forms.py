"""Every form that a model can have works, or is refused by its own remedy."""

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.predictors.autos import AutoS
from autos.pruning import prune

AUTOS = AutoS({"coefficients": {"path": 1.0, "unit": -0.5, "step": 0.2, "growth": 0.2}})
AUTOS.rounds = 2
SOME = {**{name: CRITERIA[name] for name in ("snip", "grasp", "synflow", "npb")}, "autos": AUTOS}
BATCHES = [(torch.randn(5, 6), torch.arange(5) % 3)]


def net():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


@pytest.fixture
def mesh():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


# --- forms without weights that can be written ---


def changed(change):
    def make(mesh):
        model = net()
        change(model[0])
        return model

    return make


def weight(make):
    def change(layer):
        made = make(layer.weight.detach())
        layer.weight = nn.Parameter(made, requires_grad=made.dtype != torch.int8)

    return changed(change)


def distributed(mesh):
    model = net()
    sharded = distribute_tensor(model[0].weight.detach(), mesh, [Shard(0)])
    model[0].weight = nn.Parameter(sharded)
    return model


COMPUTED = r"0\.weight is computed from other tensors; .*"
REFUSED = {
    "scripted": (lambda mesh: torch.jit.script(net()), "the model is TorchScript: prune the mod"),
    "traced": (lambda mesh: torch.jit.trace(net(), torch.ones(1, 6)), "TorchScript: prune the mod"),
    "scripted part": (
        lambda mesh: nn.Sequential(nn.Linear(6, 6), torch.jit.script(net())),
        "1 is TorchScript: prune the module",
    ),
    "weight_norm": (changed(nn.utils.weight_norm), COMPUTED + "remove_weight_norm"),
    "spectral_norm": (changed(nn.utils.spectral_norm), COMPUTED + "remove_spectral_norm"),
    "parametrized": (changed(parametrizations.weight_norm), COMPUTED + "remove_parametrizations"),
    "torch's prune": (
        changed(lambda layer: torch_prune.l1_unstructured(layer, "weight", 2)),
        COMPUTED + r"prune\.remove",
    ),
    "quantised": (
        lambda mesh: torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}),
        "0 is a quantised Linear: prune the network before that",
    ),
    "integers": (weight(lambda w: w.to(torch.int8)), r"0\.weight is torch\.int8; .* quantised"),
    "eight bits": (weight(lambda w: w.to(torch.float8_e4m3fn)), r"float8_e4m3fn; .* quantised"),
    "complex": (weight(lambda w: w.to(torch.complex64)), r"complex64; .* double precision count$"),
    "sparse": (weight(lambda w: w.to_sparse()), r"0\.weight is a sparse tensor: .*to_dense"),
    "compressed": (weight(lambda w: w.to_sparse_csr()), r"0\.weight is a sparse .*to_dense"),
    "expanded": (weight(lambda w: w[:1].expand(4, 6)), r"0\.weight is expanded .*contiguous"),
    "FSDP": (
        lambda mesh: FullyShardedDataParallel(net(), device_id=torch.device("cpu")),
        "the model is a FullyShardedDataParallel: prune the network before it is sharded",
    ),
    "FSDP of original parameters": (
        lambda mesh: nn.Sequential(
            nn.Linear(6, 6),
            FullyShardedDataParallel(net(), device_id=torch.device("cpu"), use_orig_params=True),
        ),
        "1 is a FullyShardedDataParallel: prune the network before it is sharded",
    ),
    "FSDP2": (
        lambda mesh: fully_shard(net(), mesh=mesh),
        r"0\.weight is a DTensor: .*before",
    ),
    "a sharded weight": (distributed, r"0\.weight is a DTensor: .*before"),
    "nothing but empty weights": (lambda mesh: nn.Linear(6, 0), "Linear has no prunable weight"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", REFUSED)
def test_a_form_without_plain_weights_is_refused_by_its_own_remedy(form, mesh):
    make, remedy = REFUSED[form]
    model = make(mesh)
    for method in SOME.values():
        with pytest.raises(UserError, match=remedy):
            prune(model, method, BATCHES, density=0.5)


@pytest.mark.parametrize("form", ["sparse", "compressed", "expanded", "a sharded weight"])
def test_a_mask_is_not_laid_on_such_weights_either(form, mesh):
    mask, model = Mask.dense(net()), REFUSED[form][0](mesh)
    for hold in (mask.apply_, mask.parametrize, mask.to_torch_prune):
        with pytest.raises(UserError, match=REFUSED[form][1]):
            hold(model)


# --- forms that work ---


class Empty(nn.Module):
    """As `net`, with a layer that puts out nothing."""

    def __init__(self):
        super().__init__()
        self.body, self.empty = net(), nn.Linear(6, 0)

    def forward(self, x):
        return torch.cat([self.body(x), self.empty(x)], dim=-1)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", SOME)
def test_a_weight_without_values_changes_nothing(name):
    torch.manual_seed(0)
    model = Empty()
    mask, plain = (prune(m, SOME[name], BATCHES, density=0.5) for m in (model, model.body))
    assert list(mask.keep) == ["body.0.weight", "body.2.weight"]
    assert all(map(torch.equal, mask.keep.values(), plain.keep.values()))
    assert mask.layer_densities().keys() == mask.keep.keys()
    mask.to_torch_prune(model)
    assert list(Mask.from_torch_prune(model).keep) == list(mask.keep)


class Rotating(nn.Module):
    def __init__(self, factors):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)
        self.factors = nn.Parameter(factors)

    def forward(self, x):
        return self.b((self.a(x) * self.factors).abs())


@pytest.mark.parametrize("name", SOME)
def test_a_complex_parameter_beside_the_weights_acts_by_its_absolute_value(name):
    factors, masks = torch.polar(torch.rand(4) + 1, torch.rand(4)), []
    for values in (factors, factors.abs()):
        torch.manual_seed(0)
        masks.append(prune(Rotating(values), SOME[name], BATCHES, density=0.5).keep.values())
    assert all(map(torch.equal, *masks))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", SOME)
def test_an_embedding_with_sparse_gradients_has_the_mask_of_a_plain_one(name, tied):
    tokens, masks = torch.randint(7, (9,)), []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 4, sparse=sparse), nn.Linear(4, 7, bias=False))
        if tied:
            model[1].weight = model[0].weight
        mask = prune(model, SOME[name], [(tokens, tokens.roll(1))], density=0.5)
        masks.append(mask.keep.values())
    assert all(map(torch.equal, *masks)) and len(prunable(model)) == 1
