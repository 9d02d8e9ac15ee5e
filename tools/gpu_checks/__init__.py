"""The parts of tools/gpu_check.py.

| module | job |
| --- | --- |
| check.py | runs the steps, each in a process of its own, and writes the JSON; imports nothing that could fail |
| child.py | that process: one step and its Record |
| record.py | what a step found, what failed and which targets were met |
| environment.py, smoke.py, prepare.py, kernels.py, frame.py, side.py, memory.py | the steps |
| engine.py, tests.py, sanitizer.py, timings.py, profile.py | more steps |
| every_kernel.py | what compute-sanitizer watches: each kernel, and whole frames |
| hot.py | what ncu watches: the launches of a frame at more sizes |
| pictures.py, timing.py, launches.py, networks.py, loop.py, agreement.py, rivals.py | what steps share |
| report.py | the JSON as a table for docs/gpu.md, by hand |
"""
