"""TensorRT plans: compiled from model packages, kept beside them, loaded only when they are what they say.

| module | job |
| --- | --- |
| library.py | TensorRT or TensorRT-RTX, whichever is installed |
| half.py, fold.py | from a float32 ONNX graph to the typed one that TensorRT compiles |
| profiles.py | the input sizes that a plan takes |
| compile.py, progress.py | from an ONNX graph to a plan, and how far it is |
| agreement.py | whether a converted graph labels frames as its float32 original does |
| cache.py | plans on disk: names, sidecars, locks |
| make.py | from a model file to a checked plan |
| build.py | a plan out of the cache, or made and kept: what `rtseg build` and the backend call |
| execution.py, engine.py | a plan loaded and running |
"""
