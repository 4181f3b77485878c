"""Models by name: every kind, repeatable, and never from the network."""

import socket
import sys

import pytest
import timm
import torch
import torchvision.models
import transformers
from safetensors.torch import save_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from autos.errors import UserError
from autos.images.image_set import ImageForm
from autos.network.initialize import initialize
from autos.network.zoo import build
from models import ARCHITECTURES

FORM = ImageForm(classes=3, channels=1, size=8)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model must not come from the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=30, num_hidden_layers=2, num_labels=4, **sizes)
    model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture
def user_models(tmp_path, monkeypatch):
    """A module of the user in the current directory."""
    (tmp_path / "user_models.py").write_text(
        "import random\nfrom torch import nn\n"
        "class Nets:\n"
        "    @staticmethod\n"
        "    def linear(): return nn.Linear(random.randrange(2, 99), 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "user_models", raising=False)


def make(name, *, seed=0, **options):
    return build(name, seed=seed, form=lambda: FORM, **options)


def same(one, two):
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5"])
def test_an_architecture_is_initialised_as_in_the_pipeline(name):
    want = ARCHITECTURES[name](num_classes=3, in_channels=1, image_size=8, width=1.0)
    assert same(make(name, seed=4), initialize(want, 4))


def test_torchvision_and_timm_build_the_model_of_that_name():
    assert isinstance(make("torchvision:resnet18"), torchvision.models.ResNet)
    atto = make("timm:convnext_atto")
    assert isinstance(atto, timm.models.convnext.ConvNeXt)
    assert round(sum(p.numel() for p in atto.parameters()) / 1e6, 1) == 3.7  # timm's table


def test_a_detector_does_not_download_its_backbone():
    assert isinstance(make("torchvision:fcn_resnet50"), nn.Module)


def test_a_local_transformers_model_is_of_the_class_its_config_names(bert):
    folder, model = bert
    loaded = make(f"hf:{folder}")
    assert type(loaded) is BertForSequenceClassification
    assert same(loaded, model)


def test_without_a_named_class_the_base_model_is_loaded(bert, tmp_path):
    _, model = bert
    model.bert.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(
        (tmp_path / "config.json").read_text().replace('"BertModel"', '"NoSuchModel"')
    )
    assert type(make(f"hf:{tmp_path}")) is transformers.BertModel


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}'
    )
    (tmp_path / "own.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(UserError, match=r"hf:.*ValueError.*contains custom code"):
        make(f"hf:{tmp_path}")


def test_pickled_weights_are_not_read(bert, tmp_path):
    _, model = bert
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"hf:.*OSError"):
        make(f"hf:{tmp_path}")


def test_a_factory_is_found_in_the_current_directory(user_models):
    assert isinstance(make("user_models:Nets.linear"), nn.Linear)


@pytest.mark.parametrize(
    "name",
    ["lenet_5", "torchvision:squeezenet1_1", "timm:convnext_atto", "user_models:Nets.linear"],
)
def test_the_seed_makes_the_weights_and_nothing_else_feels_it(name, user_models):
    state = torch.get_rng_state()
    one, again, other = make(name, seed=1), make(name, seed=1), make(name, seed=2)
    assert same(one, again) and not same(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert not one.training


def test_weights_come_from_a_file_also_tied_ones(bert, tmp_path):
    tied = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    tied.save_pretrained(tmp_path / "gpt2")
    with torch.no_grad():
        tied.transformer.wte.weight.fill_(0.5)
    save_model(tied, str(tmp_path / "new.safetensors"))
    loaded = make(f"hf:{tmp_path / 'gpt2'}", weights=str(tmp_path / "new.safetensors"))
    assert same(loaded, tied) and loaded.lm_head.weight is loaded.transformer.wte.weight


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused_in_one_line(change, tmp_path):
    def model(name, size):
        return nn.ModuleDict({name: nn.Linear(4, size)})

    saved = {
        "missing": nn.ModuleDict(),
        "unexpected": nn.Sequential(make("lenet_300_100"), nn.Linear(2, 2)),
        "shape": ARCHITECTURES["lenet_300_100"](
            num_classes=5, in_channels=1, image_size=8, width=1.0
        ),
    }[change]
    save_model(saved, str(tmp_path / "w.safetensors"))
    with pytest.raises(UserError, match=r"weights .*w\.safetensors do not fit") as error:
        make("lenet_300_100", weights=str(tmp_path / "w.safetensors"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lenet5", "unknown architecture 'lenet5'; did you mean 'lenet_5'.*or torchvision:NAME"),
        ("torchvision:resnet51", "unknown torchvision model 'resnet51'; did you mean 'resnet50'"),
        ("timm:convnext_attto", "unknown timm model 'convnext_attto'; did you mean 'convnext_atto"),
        ("timm:hf-hub:timm/resnet18", "unknown timm model"),
        ("hf:/nowhere", "hf:/nowhere: no config.json there; name the folder of a local model"),
        ("hf:bert-base-uncased", "no config.json there"),
        ("user_models:Nets", "user_models:Nets: returns Nets, not a torch.nn.Module"),
        ("user_models:", "'user_models:' is not of the form package.module:name"),
        (":linear", "Empty module name"),
    ],
)
def test_a_wrong_name_is_explained(name, message, user_models):
    with pytest.raises(UserError, match=message) as error:
        make(name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_an_image_size_that_an_architecture_does_not_take_is_an_error_of_the_user():
    with pytest.raises(UserError, match="vgg_16: images of 8 px are too small"):
        make("vgg_16")


def test_what_the_data_are_is_asked_only_for_an_architecture():
    def never():
        raise AssertionError

    build("torchvision:squeezenet1_1", seed=0, form=never)


def test_weights_of_torchvision_are_those_that_torch_keeps(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    source = torchvision.models.resnet18()
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(source.state_dict(), cache / weights.url.rpartition("/")[2])
    model = make("torchvision:resnet18", weights=f"torchvision:{weights}")
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
