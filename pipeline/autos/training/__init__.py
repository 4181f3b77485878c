"""The one training loop, its recipe, and what can take part in a training."""
