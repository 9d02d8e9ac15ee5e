"""Measuring: the same loop as a run, under a load that is known."""
