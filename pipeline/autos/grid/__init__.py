"""The grid of experiments: target x method x density x seed, as resumable units of work."""
