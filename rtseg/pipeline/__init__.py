"""The visible loop, and what opens, feeds and closes it."""
