"""Iterative rewind pruning of source networks, and the surviving scores that come of it."""
