"""Speed, memory and accuracy against targets: `make bench`, or `python -m benchmarks NAME ...`.

A benchmark is a module with a function `run` that returns figures. Ratios are taken within one run
on the cores this process may use.
"""
