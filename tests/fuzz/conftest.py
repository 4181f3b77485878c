"""The head of a long run of the fuzzers tells how to repeat it."""

from fuzzing import CASES


def pytest_report_header(config):
    seed = config.getoption("hypothesis_seed", None)
    return f"fuzz: FUZZ_CASES={CASES} --hypothesis-seed={seed}" if CASES else None
