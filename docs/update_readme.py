"""The program `make readme`, which copies the report's accuracy section into the README."""

import re
from pathlib import Path

README, REPORT = Path("README.md"), Path("data/report/report.md")


def results() -> str:
    """Return the accuracy section of the report, as the README shows it."""
    section = REPORT.read_text().split("\n", 2)[2].split("## Cost")[0].strip()
    return section.replace("](accuracy.png)", f"]({REPORT.parent}/accuracy.png)")


def updated(readme: str) -> str:
    """Return the README with everything between its two markers replaced by the results."""
    pattern = r"(<!-- results: [^\n]* -->\n).*?(<!-- /results -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{results()}\n{m[2]}", readme, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
