"""Units of work: each is computed once, kept under a key of its own, and found again."""
