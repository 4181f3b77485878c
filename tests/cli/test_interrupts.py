"""Ctrl-C and SIGTERM end a program in one line, with a shell's exit code, at any time."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import os, signal, sys, time
def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs of a shell ignore it
class Importing:
    def find_spec(name, path, target=None):
        if name == NAME:
            interrupt(signal.SIGTERM)
"""
WITHIN = """
from autos.errors import Stopped, stoppable
with stoppable("work is kept"):
"""
CODE = {
    "a finalizer": "    class A:\n        def __del__(self): interrupt()\n    A(); time.sleep(20)",
    "Lightning": "    try: interrupt()\n    except Stopped: sys.exit(1)",
    "an extension": "    try: interrupt()\n    except Stopped as e: raise ImportError() from e",
    "code of others": "    signal.default_int_handler(signal.SIGINT, None)",
}


def run(code: str, *, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        cwd=cwd, env={"PYTHONPATH": f"{ROOT / 'pipeline'}:{ROOT}", "HOME": str(cwd)},
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_it_ends_the_program_wherever_it_is_caught(tmp_path, code):
    told = "error: interrupted; work is kept\n"
    assert run(WITHIN + code, cwd=tmp_path) == (130, "", told)


def test_what_is_open_is_closed(tmp_path):
    code = WITHIN + "    try: interrupt(signal.SIGTERM)\n    finally: print('closed', flush=True)"
    assert run(code, cwd=tmp_path) == (143, "closed\n", "error: terminated; work is kept\n")


def test_who_ignores_it_goes_on_and_errors_stay(tmp_path):
    """As a program that `nohup` or a script started in the background."""
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code = ignored + WITHIN + "    interrupt(); print('on', flush=True); sys.exit(3)"
    assert run(code, cwd=tmp_path) == (3, "on\n", "")
    code, _, told = run(WITHIN + "    raise ValueError('mine')", cwd=tmp_path)
    assert code == 1 and told.endswith("ValueError: mine\n")


PROGRAMS = {
    "autos": "from autos.cli import main\nsys.argv = ['autos', 'list']\nmain()",
    "stages": "import runpy\nsys.argv[1:] = ['irp']\nrunpy.run_module('stages', None, '__main__')",
}  # fmt: skip


@pytest.mark.parametrize(
    ("program", "imports"), [("autos", "typer"), ("autos", "torch"), ("stages", "pydantic")]
)
def test_a_program_ends_in_a_line_while_it_imports(tmp_path, program, imports):
    code = f"Importing.find_spec.__defaults__ = (None,)\nsys.argv[1:] = [{imports!r}]\n"
    code = f"NAME = {imports!r}\nsys.meta_path.insert(0, Importing)\n" + PROGRAMS[program]
    status, out, told = run(code, cwd=tmp_path)
    assert (status, out) == (128 + signal.SIGTERM, "")
    (line,) = told.splitlines()
    assert line.startswith("error: terminated; ")
