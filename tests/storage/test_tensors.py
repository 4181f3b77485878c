"""Safetensors files come back as written, or are refused by name."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from autos.errors import UserError
from autos.storage.tensors import digest, read_tensors, write_tensors

NAMED = {"kind": "thing", "version": 1}
ABOUT = {"accuracy": 0.5, "epochs": [1, 2], "none": None, "deep": {"b": "x", "a": 1e-300}}


def tensors() -> dict[str, torch.Tensor]:
    """Many types, in an order that is neither alphabetic nor by type."""
    return {
        "z": torch.arange(6).view(2, 3),
        "b.weight": torch.tensor([0.1, -0.0, float("inf")], dtype=torch.float64),
        "mask": torch.tensor([[True], [False]]),
        "a": torch.tensor(3.5),
        "bf16": torch.tensor([1.0, 2.5]).bfloat16(),
        "none": torch.empty(0, 4),
        "count": torch.tensor(7, dtype=torch.int16),
    }


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "folder" / "a.safetensors"
    write_tensors(path, tensors(), about=ABOUT, **NAMED)
    return path


def assert_refused(path: Path, match: str = "damaged") -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: .*{match}"):
        read_tensors(path, **NAMED)


# --- whole files ---


def test_tensors_come_back_with_type_shape_and_value_in_their_order(path):
    found, about = read_tensors(path, **NAMED)
    assert list(found) == list(tensors())
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert found[name].view(-1).view(torch.uint8).equal(tensor.view(-1).view(torch.uint8))
    assert about == ABOUT and list(about["deep"]) == ["b", "a"]


def test_parameters_views_and_transposed_tensors_are_stored_by_value(tmp_path):
    matrix = torch.arange(24.0).view(4, 6)
    layer = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    first, second = torch.arange(8.0).split(4)
    given = {"t": matrix.T, "part": matrix[1:3, ::2], "conv": layer.weight, "1": first, "2": second}
    write_tensors(tmp_path / "a", given, about={}, **NAMED)
    found, _ = read_tensors(tmp_path / "a", **NAMED)
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert not found["conv"].requires_grad


def test_no_tensors_and_no_description_are_a_file_too(tmp_path):
    write_tensors(tmp_path / "a", {}, about={}, **NAMED)
    assert read_tensors(tmp_path / "a", **NAMED) == ({}, {})


def test_the_same_content_gives_the_same_bytes_every_time(path, tmp_path):
    for i in range(10):
        write_tensors(tmp_path / f"{i}", tensors(), about=ABOUT, **NAMED)
        assert (tmp_path / f"{i}").read_bytes() == path.read_bytes()


def test_the_order_is_part_of_the_content(path, tmp_path):
    write_tensors(tmp_path / "a", dict(reversed(tensors().items())), about=ABOUT, **NAMED)
    assert (tmp_path / "a").read_bytes() != path.read_bytes()
    assert list(read_tensors(tmp_path / "a", **NAMED)[0]) == list(reversed(tensors()))


def test_other_programs_can_read_the_file(path):
    found = safetensors.torch.load_file(path)
    assert found.keys() == tensors().keys()
    assert torch.equal(found["b.weight"], tensors()["b.weight"])


# --- files that are not ---


def test_a_flipped_bit_is_noticed_in_values_and_description_alike(tmp_path):
    path = tmp_path / "a.safetensors"
    given = {"b": torch.tensor([True, False, True]), "a": torch.tensor(0.25)}
    write_tensors(path, given, about={"n": 5, "x": [0.5]}, **NAMED)
    content = path.read_bytes()
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"^{path}: "):
            read_tensors(path, **NAMED)
            pytest.fail(f"bit {i % 8} of byte {i}: {bytes(damaged)}")
    path.write_bytes(content)
    read_tensors(path, **NAMED)


def test_every_truncated_file_is_refused(path):
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        assert_refused(path)


def test_a_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "a", "not found$")


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors(), path)
    assert_refused(path, "is not a thing but something else")
    safetensors.torch.save_file(tensors(), path, {"autos": "hello"})
    assert_refused(path)
    path.write_text("hello")
    assert_refused(path)
    path.unlink()
    path.mkdir()
    assert_refused(path)


def test_another_kind_or_version_is_refused(path):
    with pytest.raises(UserError, match=f"^{path}: is not a mask but thing"):
        read_tensors(path, kind="mask", version=1)
    with pytest.raises(UserError, match=f"^{path}: thing of version 1, .* reads version 2$"):
        read_tensors(path, kind="thing", version=2)


# --- writes that fail ---


def test_a_description_that_json_cannot_hold_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tensors(path, tensors(), about={"bad": object()}, **NAMED)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_new_write_replaces_the_old_tensors(path):
    write_tensors(path, {"only": torch.ones(1)}, about={}, **NAMED)
    assert list(read_tensors(path, **NAMED)[0]) == ["only"]
    assert list(path.parent.iterdir()) == [path]


# --- headers of another shape ---

SHAPES = [None, 5, "text", [], [1], {}, {"a": [None]}]


def crafted(path: Path, header: object) -> None:
    """Write a file whose metadata is any JSON, with the checksum that is right for it."""
    given = {"x": torch.ones(2)}
    if isinstance(header, dict):
        header = {**header, "sha256": digest(given, header)}
    safetensors.torch.save_file(given, path, {"autos": json.dumps(header)})


@pytest.mark.parametrize("header", SHAPES)
def test_a_header_of_another_shape_is_refused(tmp_path, header):
    crafted(tmp_path / "a", header)
    assert_refused(tmp_path / "a", "(damaged|is not a thing)")


@pytest.mark.parametrize("key", ["kind", "version", "about", "order"])
@pytest.mark.parametrize("value", SHAPES)
def test_an_entry_of_another_shape_is_refused_even_with_its_checksum(tmp_path, key, value):
    whole = {**NAMED, "about": {}, "order": ["x"]}
    crafted(tmp_path / "a", whole)
    read_tensors(tmp_path / "a", **NAMED)
    crafted(tmp_path / "b", {**whole, key: value})
    if key == "about" and isinstance(value, dict):
        assert read_tensors(tmp_path / "b", **NAMED)[1] == value
    elif key == "order" and value in ([], {}):
        pytest.skip("names no tensor, which is refused below")
    else:
        assert_refused(tmp_path / "b", "(damaged|is not a thing|thing of version)")
    del whole[key]
    crafted(tmp_path / "c", whole)
    assert_refused(tmp_path / "c", "(damaged|is not a thing|thing of version)")


def test_deep_metadata_is_refused(tmp_path):
    deep = {"autos": "[" * 5000 + "]" * 5000}
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / "a", deep)
    assert_refused(tmp_path / "a")
