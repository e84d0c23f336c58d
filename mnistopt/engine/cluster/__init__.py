"""Devices of other machines, by Ray: the queue of rounds does not know them apart."""
