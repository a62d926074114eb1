"""Training: minibatches, negatives, the loop, checkpoints."""
