"""Masks, and how scores or layer sizes become masks with an exact number of weights."""
