"""What `experiments.bench` measures, a file for each contender."""
