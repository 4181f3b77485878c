"""Zarr stores come back as written, or are refused by name."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from autos.errors import UserError
from autos.storage.zarr_store import CHUNK, SHARD, read_store, store_digest, write_store

NAMED = {"kind": "thing", "version": 1}
ABOUT = {"classes": ["a", "b"], "deep": {"z": 0.5, "a": None}}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train/images": rng.integers(1, 256, (7, 2, 2, 1)).astype(np.uint8),
        "train/labels": np.arange(7, dtype=np.uint16),
        "mask": np.array([True, False]),
        "a/b/c": rng.random((3, 5)),
        "weight": np.array([0.0, -0.0, np.inf, np.nan], dtype=np.float32),
        "empty": np.empty((0, 3), np.float32),
        "zeros": np.zeros(5, np.float32),
    }


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "folder" / "a.zarr"
    write_store(path, arrays(), about=ABOUT, **NAMED)
    return path


def assert_refused(path: Path, match: str = "damaged") -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: .*{match}"):
        read_store(path, **NAMED)


def files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


# --- whole stores ---


def test_arrays_come_back_with_type_shape_and_bytes_in_their_order(path):
    found, about = read_store(path, **NAMED)
    assert list(found) == list(arrays())
    for name, values in arrays().items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        assert found[name].tobytes() == values.tobytes()
    assert about == ABOUT and list(about["deep"]) == ["z", "a"]


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    write_store(tmp_path / "b.zarr", arrays(), about=ABOUT, **NAMED)
    assert files(tmp_path / "b.zarr") == files(path)


def test_large_arrays_are_few_files_and_every_one_of_them_is_needed(tmp_path):
    path = tmp_path / "a.zarr"
    values = np.arange(SHARD + CHUNK + 5, dtype=np.uint32).astype(np.uint8)
    write_store(path, {"x": values}, about={}, **NAMED)
    assert (read_store(path, **NAMED)[0]["x"] == values).all()
    shards = sorted((path / "x/c").iterdir())
    assert len(shards) == 2
    for shard in shards:
        content = shard.read_bytes()
        shard.unlink()
        assert_refused(path, "array 'x' does not match its checksum")
        shard.write_bytes(content)
    read_store(path, **NAMED)


def test_other_programs_can_read_the_store(path):
    root = zarr.open_group(path, mode="r")
    assert (root["train/images"][:] == arrays()["train/images"]).all()
    assert root["train/images"].metadata.dimension_names == ("index", "axis_1", "axis_2", "axis_3")
    assert root.attrs["kind"] == "thing"


def test_arrays_that_are_not_contiguous_are_stored_by_value(tmp_path):
    values = np.arange(24).reshape(4, 6)
    write_store(tmp_path / "a", {"x": values.T, "y": values[::2, ::3]}, about={}, **NAMED)
    found, _ = read_store(tmp_path / "a", **NAMED)
    assert (found["x"] == values.T).all() and (found["y"] == values[::2, ::3]).all()


# --- stores that are not ---


@pytest.mark.parametrize("name", ["train/images", "train/labels", "mask", "a/b/c", "weight"])
def test_a_missing_chunk_is_not_read_as_zeros(path, name):
    shutil.rmtree(path / name / "c")
    zarr_reads = zarr.open_group(path, mode="r")[name][:]
    assert not zarr_reads.any(), "zarr itself notices by now"
    assert_refused(path, f"array {name!r} does not match its checksum")


def test_a_truncated_shard_is_refused(path):
    (shard,) = (f for f in (path / "a/b/c/c").rglob("*") if f.is_file())
    content = shard.read_bytes()
    for size in range(0, len(content), 11):
        shard.write_bytes(content[:size])
        assert_refused(path)


@pytest.mark.parametrize("name", [".", "mask", "train/images"])
def test_missing_metadata_is_refused(path, name):
    (path / name / "zarr.json").unlink()
    assert_refused(path)


def test_missing_attributes_as_after_a_crash_are_refused(path):
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["attributes"]
    (path / "zarr.json").write_text(json.dumps(metadata))
    assert_refused(path, "is not a thing")
    metadata["attributes"] = {"kind": "thing"}
    (path / "zarr.json").write_text(json.dumps(metadata))
    assert_refused(path, "version None")
    metadata["attributes"] = NAMED
    (path / "zarr.json").write_text(json.dumps(metadata))
    assert_refused(path)


def test_a_missing_array_is_refused(path):
    shutil.rmtree(path / "mask")
    assert_refused(path, "'mask'")


def test_a_flipped_bit_is_noticed_wherever_it_matters(tmp_path):
    """All over the description, and here and there in the arrays' metadata and values."""
    path = tmp_path / "a.zarr"
    given = {"x": np.arange(1, 21, dtype=np.float32), "y": np.array([True, True])}
    about = {"n": 5, "x": [0.5]}
    write_store(path, given, about=about, **NAMED)
    refused = 0
    for file in (f for f in path.rglob("*") if f.is_file()):
        content = file.read_bytes()
        for i in range(0, len(content), 2 if file.parent == path else 31):
            damaged = bytearray(content)
            damaged[i] ^= 1 << i % 8
            file.write_bytes(damaged)
            try:
                found, description = read_store(path, **NAMED)
            except UserError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
                refused += 1
            else:
                assert {n: v.tolist() for n, v in found.items()} == {
                    n: v.tolist() for n, v in given.items()
                }, (file, i)
                assert description == about, (file, i)
        file.write_bytes(content)
    assert refused > 150
    read_store(path, **NAMED)


@pytest.mark.parametrize("reader", [lambda path: read_store(path, **NAMED), store_digest])
def test_what_is_no_store_is_refused(tmp_path, reader):
    path = tmp_path / "a.zarr"
    with pytest.raises(UserError, match=f"^{path}: not found$"):
        reader(path)
    path.mkdir()
    with pytest.raises(UserError, match=f"^{path}: damaged or incomplete .*"):
        reader(path)
    path.rmdir()
    path.write_text("hello")
    with pytest.raises(UserError, match=f"^{path}: damaged or incomplete"):
        reader(path)


def test_foreign_stores_are_refused(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(path).create_array("x", data=np.ones(3))
    assert_refused(path, "is not a thing but something else")
    shutil.rmtree(path)
    zarr.create_array(path, data=np.ones(3))
    assert_refused(path)


def test_another_kind_or_version_is_refused(path):
    with pytest.raises(UserError, match=f"^{path}: is not a image set but thing"):
        read_store(path, kind="image set", version=1)
    with pytest.raises(UserError, match=f"^{path}: thing of version 1, .* reads version 2$"):
        read_store(path, kind="thing", version=2)


# --- replacing a store ---


@pytest.mark.parametrize(
    ("bad_arrays", "bad_about"),
    [({"x": np.ones(3), "y": np.array([object()])}, {}), ({"x": np.ones(3)}, {"y": object()})],
)
def test_a_write_that_fails_half_way_leaves_the_old_store(path, bad_arrays, bad_about):
    before = files(path)
    with pytest.raises((TypeError, ValueError)):
        write_store(path, bad_arrays, about=bad_about, **NAMED)
    assert files(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_a_new_store_has_nothing_of_the_old_one(path):
    write_store(path, {"only": np.ones(1)}, about={}, **NAMED)
    assert list(read_store(path, **NAMED)[0]) == ["only"]
    assert not (path / "train").exists()
    assert list(path.parent.iterdir()) == [path]


# --- digests ---


def test_the_digest_tells_content_apart(tmp_path):
    def digest(arrays: dict[str, np.ndarray], about: dict, kind: str = "thing") -> str:
        write_store(tmp_path / "a", arrays, kind=kind, version=1, about=about)
        return store_digest(tmp_path / "a")

    same = digest({"x": np.ones(3)}, {"n": 1})
    assert digest({"x": np.ones(3)}, {"n": 1}) == same
    others = [
        digest({"x": np.array([1, 1, 2.0])}, {"n": 1}),
        digest({"x": np.ones(3, np.float32)}, {"n": 1}),
        digest({"x": np.ones((3, 1))}, {"n": 1}),
        digest({"y": np.ones(3)}, {"n": 1}),
        digest({"x": np.ones(3)}, {"n": 2}),
        digest({"x": np.ones(3)}, {"n": 1}, kind="other"),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_the_digest_does_not_read_the_arrays(path):
    before = store_digest(path)
    shutil.rmtree(path / "train")
    assert store_digest(path) == before


# --- attributes of another shape ---

SHAPES = [None, 5, "text", [], [1], [["train/images"]], {}, {"a": [None]}]


@pytest.mark.parametrize("key", ["kind", "version", "sha256", "about"])
@pytest.mark.parametrize("value", SHAPES)
def test_an_attribute_of_another_shape_is_refused_even_with_its_checksum(path, key, value):
    metadata = json.loads((path / "zarr.json").read_text())
    attributes = metadata["attributes"]
    attributes[key] = value
    if key == "about":
        text = json.dumps(value).encode()
        attributes["about_sha256"] = hashlib.sha256(text).hexdigest()
    (path / "zarr.json").write_text(json.dumps(metadata))
    if key == "about" and isinstance(value, dict):
        assert read_store(path, **NAMED)[1] == value
    elif key == "sha256" and value in ([], {}):
        assert read_store(path, **NAMED)[0] == {}  # whoever reads it misses the arrays
    else:
        assert_refused(path, "(damaged|is not a thing|thing of version)")


@pytest.mark.parametrize("attributes", [None, 5, "text", [1], "deep"])
def test_attributes_that_are_no_mapping_are_refused(path, attributes):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"] = attributes
    text = json.dumps(metadata).replace('"deep"', "[" * 5000 + "]" * 5000)
    (path / "zarr.json").write_text(text)
    assert_refused(path, "(damaged|is not a thing)")


def test_an_array_that_claims_more_than_the_memory_is_refused(path):
    metadata = json.loads((path / "mask/zarr.json").read_text())
    metadata["shape"] = [10**15]
    (path / "mask/zarr.json").write_text(json.dumps(metadata))
    assert_refused(path)
