"""From trained weights to what runs: packages, int8 twins, TensorRT plans."""
