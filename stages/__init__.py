"""The stages of dvc.yaml, one module each; `python -m stages NAME` runs one."""
