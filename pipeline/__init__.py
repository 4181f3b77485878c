"""AutoS as a library: iterative rewind pruning, criteria, the predictor, sparse training."""
