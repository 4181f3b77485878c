"""The recipes of docs/training.md run: all trainings, then, in a fresh process, what they saved."""

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/training.md"
RECIPES = re.findall(r"```python\n(.*?)```.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
EACH_ON_ITS_OWN = "import json, sys\nfor block in json.loads(sys.argv[1]): exec(block, {})"


def test_what_was_trained_and_saved_is_there_in_a_fresh_process(tmp_path):
    assert len(RECIPES) == 3
    for blocks in zip(*RECIPES, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", EACH_ON_ITS_OWN, json.dumps(blocks)],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
