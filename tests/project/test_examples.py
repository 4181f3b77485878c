"""The examples in docstrings run and show what they say."""

import doctest
import importlib
import pkgutil
import warnings

import pytest

import autos

WITHOUT = {"METHODS", "UserError"}
"""Names of the front door that are a table and an exception."""

MODULES = [
    found.name
    for found in pkgutil.walk_packages(autos.__path__, "autos.")
    if ">>>" in (importlib.util.find_spec(found.name).loader.get_source(found.name) or "")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_show_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


@pytest.mark.parametrize("name", sorted({*autos.__all__, "irp"} - WITHOUT))
def test_the_front_door_has_examples(name):
    thing = (
        importlib.import_module("autos.irp.rounds").irp if name == "irp" else getattr(autos, name)
    )
    assert ">>>" in thing.__doc__, name
