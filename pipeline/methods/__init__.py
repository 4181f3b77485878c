"""All methods by name: the criteria, and those that train, which have one file each here.

To add one, write `pipeline/methods/x.py` with its `METHOD`, import it here and add its line.
"""

from pipeline.criteria import CRITERIA
from pipeline.method import Method

METHODS: dict[str, Method] = {
    **CRITERIA,
}
