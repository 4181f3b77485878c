"""Networks of any kind: how they are found, which weights count, how batches run through them."""
