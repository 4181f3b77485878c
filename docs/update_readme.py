"""Copies the accuracy section of the report into the README: `make readme`."""

import re
from pathlib import Path

README, REPORT = Path("README.md"), Path("data/report/report.md")


def results() -> str:
    """The section of the report, as the README shows it."""
    section = REPORT.read_text().split("\n", 2)[2].split("## Cost")[0].strip()
    return section.replace("](accuracy.png)", f"]({REPORT.parent}/accuracy.png)")


def updated(readme: str) -> str:
    """The README with everything between its two markers replaced."""
    pattern = r"(<!-- results: [^\n]* -->\n).*?(<!-- /results -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{results()}\n{m[2]}", readme, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
