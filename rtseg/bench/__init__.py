"""The benchmark: whole frames from capture to overlay, open loop, with percentiles, drops and repetitions.

`benchmark.bench` runs it, `rtseg bench` is its command, `docs/bench-schema.md` describes what comes out.
"""
