"""Many replicas on the devices, and their checkpoints."""
