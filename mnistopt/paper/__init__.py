"""The study that the project grew from, reproduced with seeds and intervals."""
