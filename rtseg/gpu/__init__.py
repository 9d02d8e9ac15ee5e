"""NVIDIA GPUs: the driver, the only importer of PyCUDA, CUDA graphs."""
