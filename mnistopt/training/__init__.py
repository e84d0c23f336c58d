"""Training and evaluating one replica."""
