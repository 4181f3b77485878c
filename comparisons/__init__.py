"""Comparisons of the papers on real images, one YAML file each: `python -m comparisons NAME`.

A file holds what params.yaml holds, and under `runs` what differs in each run, by dotted key. Runs
share their units of work, so that a comparison which was interrupted goes on where it was, and what
several runs have in common is computed once.
"""
