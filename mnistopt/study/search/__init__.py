"""Searching for good settings: spaces, samplers, and who goes on."""
