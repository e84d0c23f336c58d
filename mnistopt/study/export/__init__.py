"""Trained networks as files for where they are used."""
