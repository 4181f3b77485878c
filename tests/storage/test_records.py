"""JSON files that later steps believe: they come back as written, or are refused by name."""

import json
import math
from pathlib import Path
from typing import ClassVar

import pytest

from autos.errors import DamagedFileError, MissingFileError, UserError
from autos.grid.cell import MaskTable, ResultRow, ResultTable, Seconds
from autos.predictors import PREDICTORS
from autos.predictors.autos import AutoS
from autos.predictors.base import SHIPPED
from autos.storage.predictor_files import AutosFile, Map, Measured, PaperFile, PaperReport
from autos.storage.records import Record, digest
from stages._tracking import LoggedRun

CELL = {"target": "net", "method": "snip", "density": 0.1, "seed": 0, "check": None}
MASK = {
    **CELL,
    "kind": "criterion",
    "file": "net/snip/0.1-0.safetensors",
    "sha256": "0f",
    "start": None,
    "start_sha256": None,
    "step": 0,
    "trained": False,
    "kept": 10,
    "total": 100,
    "layer_densities": {"a.weight": 0.1},
    "empty_layers": [],
    "cost": {"forward": 5, "backward": 5, "epochs": 0.5, "flops": 10**12},
}
RESULT = {
    **CELL,
    "kind": "criterion",
    "kept": 10,
    "total": 100,
    "flops": 20,
    "dense_flops": 200,
    "train_loss": [2.25, 1e-300],
    "validation_accuracy": [0.1, 0.2],
    "test_accuracy_before": 0.1,
    "test_accuracy": 0.30000000000000004,
}
MEASURED = {
    "held_out": 3,
    "mse": 0.5,
    "label_variance": 0.25,
    "spearman": {"snip": 0.125},
    "densities": [0.5, 0.1],
    "overlap": {"snip": [1.0, 0.5]},
    "joint_histogram": [[1, 2], [0, 0]],
}
RECORDS: dict[str, Record] = {
    "autos": AutosFile(coefficients={"path": 0.6483965734277705, "unit": -1.0}, rounds=30),
    "autos_paper": PaperFile(backbone="mlp", inputs=["weight"], scaling="none"),
    "autos_paper_report": PaperReport(
        train_mse=[1.0, 0.5],
        validation_mse=[1.0, 0.75],
        networks={"net": Measured(**MEASURED)},
        map=Map(axis=[-1.0, 1.0], scores=[[0.0, 1.0]]),
    ),
    "masks": MaskTable(targets={"net": {"width": 1.0}}, masks=[MASK]),
    "results": ResultTable(cells=[RESULT]),
    "seconds": Seconds(units={"prune/net/snip/0.1/0": 1.5}),
    "run": LoggedRun(store={"uri": "sqlite:///mlflow.db", "created": 1}, run_id="3f"),
}
every_record = pytest.mark.parametrize("name", RECORDS)


def signed(path: Path, content: dict) -> None:
    """Write a content with the checksum that is right for it."""
    content = {name: value for name, value in content.items() if name != "sha256"}
    path.write_text(json.dumps({**content, "sha256": digest(content)}))


@pytest.fixture
def path(tmp_path, name) -> Path:
    RECORDS[name].save(tmp_path / "a.json")
    return tmp_path / "a.json"


@every_record
def test_it_comes_back_as_written_with_the_same_bytes_every_time(path, name):
    found = type(RECORDS[name]).load(path)
    assert found == RECORDS[name]
    before = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == before


@every_record
def test_other_programs_read_what_it_holds(path, name):
    content = json.loads(path.read_text())
    assert content.pop("kind") == RECORDS[name].KIND
    assert content.pop("version") == RECORDS[name].VERSION
    assert len(content.pop("sha256")) == 64
    assert content == RECORDS[name].model_dump(exclude_unset=True)


@every_record
def test_no_flipped_bit_is_believed(path, name):
    """A flipped bit is either refused or, in a blank between tokens, changes nothing."""
    content = path.read_bytes()
    schema = type(RECORDS[name])
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 1 << i % 7
        path.write_bytes(damaged)
        try:
            assert schema.load(path) == RECORDS[name], (i, bytes(damaged))
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    path.write_bytes(content)
    schema.load(path)


@every_record
def test_every_truncated_file_is_damaged(path, name):
    content = path.read_bytes().rstrip()
    for size in range(0, len(content), 3):
        path.write_bytes(content[:size])
        with pytest.raises(DamagedFileError, match=r"a\.json: damaged"):
            type(RECORDS[name]).load(path)


@every_record
@pytest.mark.parametrize("value", [None, [], "text", {"a": [{}]}, -1, 1e999, [[[None]]]])
def test_a_value_of_another_kind_is_refused_even_with_its_checksum(path, name, value):
    """Each value in turn, at every depth, is replaced; what is accepted has the schema's types."""
    schema, content = type(RECORDS[name]), json.loads(path.read_text())

    def places(part):
        if isinstance(part, dict | list):
            for key in part if isinstance(part, dict) else range(len(part)):
                yield part, key
                yield from places(part[key])

    for part, key in list(places(content)):
        if part is content and key in ("kind", "version", "sha256"):
            continue
        before, part[key] = part[key], value
        signed(path, content)
        part[key] = before
        try:
            found = schema.load(path)
        except DamagedFileError as error:
            assert str(error).startswith(f"{path}") and "\n" not in str(error)
        else:
            assert schema.model_validate(found.model_dump(exclude_unset=True)) == found


@every_record
@pytest.mark.parametrize(
    "content", ["[]", '"kind"', "7", "null", "true", "NaN", "[" * 5000 + "]" * 5000, "9" * 5000]
)
def test_json_of_another_shape_is_damaged(path, name, content):
    path.write_text(content)
    with pytest.raises(DamagedFileError, match=r"^\S+a\.json: damaged"):
        type(RECORDS[name]).load(path)


@every_record
def test_a_missing_key_and_an_unknown_kind_or_version_are_named(path, name):
    schema, content = type(RECORDS[name]), json.loads(path.read_text())
    for key in ("kind", "version", "sha256"):
        path.write_text(json.dumps({k: v for k, v in content.items() if k != key}))
        with pytest.raises(UserError, match=r"a\.json"):
            schema.load(path)
    signed(path, {**content, "kind": "dog"})
    with pytest.raises(UserError, match=f"is not a {schema.KIND} but dog$"):
        schema.load(path)
    signed(path, {**content, "version": schema.VERSION + 1})
    with pytest.raises(DamagedFileError, match=f"of version {schema.VERSION + 1}"):
        schema.load(path)


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "a.json", tmp_path / "file/a.json"):
        with pytest.raises(MissingFileError, match=r"a\.json: not found$"):
            Seconds.load(place)
    with pytest.raises(UserError, match=f"^{tmp_path}: Is a directory$"):
        Seconds.load(tmp_path)


class Numbers(Record):
    KIND: ClassVar = "numbers"
    VERSION: ClassVar = 1
    x: list[float]


def test_nan_and_infinity_are_refused_where_they_mean_nothing(tmp_path):
    signed(tmp_path / "a.json", {"kind": "numbers", "version": 1, "x": [math.nan]})
    with pytest.raises(DamagedFileError, match=r"a\.json\.x\.0: .*finite"):
        Numbers.load(tmp_path / "a.json")


def test_a_loss_that_diverged_is_kept(tmp_path):
    row = ResultRow(**{**RESULT, "train_loss": [math.inf, math.nan]})
    ResultTable(cells=[row]).save(tmp_path / "a.json")
    loss = ResultTable.load(tmp_path / "a.json").cells[0].train_loss
    assert loss[0] == math.inf and math.isnan(loss[1])


def test_a_mask_for_no_target_is_refused(tmp_path):
    RECORDS["masks"].save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    signed(tmp_path / "a.json", {**content, "targets": {}})
    with pytest.raises(DamagedFileError, match="a mask is for 'net', which is none of the targets"):
        MaskTable.load(tmp_path / "a.json")


# --- predictors ---


def test_a_changed_digit_in_the_shipped_coefficients_is_refused(tmp_path):
    text = (SHIPPED / "autos.json").read_text()
    assert AutoS.load().coefficients["path"] == 0.6483965734277705
    (tmp_path / "autos.json").write_text(text.replace("0.6483965734277705", "0.6483965734277706"))
    with pytest.raises(DamagedFileError, match="content does not match its checksum"):
        AutoS.load(tmp_path)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"path": None}, r"coefficients\.path: "),
        ({"path": math.nan}, r"coefficients\.path: "),
        ({"path": -math.inf}, r"coefficients\.path: "),
        ({"paths": 1.0}, "unknown feature 'paths'; did you mean 'path'"),
        ([1.0], "coefficients: "),
    ],
)
def test_coefficients_that_are_none_are_refused_even_with_their_checksum(
    tmp_path, coefficients, message
):
    content = {"kind": "AutoS", "version": 1, "coefficients": coefficients}
    signed(tmp_path / "autos.json", content)
    with pytest.raises(DamagedFileError, match=message):
        AutoS.load(tmp_path)


def test_a_predictor_that_is_not_one_is_not_saved(tmp_path):
    with pytest.raises(UserError, match=r"autos\.coefficients\.path"):
        AutoS({"coefficients": {"path": math.nan}}).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_shipped_files_are_what_saving_them_writes(tmp_path, name):
    predictor = PREDICTORS[name].load()
    predictor.save(tmp_path)
    for file in predictor.files:
        assert (tmp_path / file).read_bytes() == (SHIPPED / file).read_bytes()
