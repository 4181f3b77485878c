"""Files that are either whole and as they were written, or refused by name."""
