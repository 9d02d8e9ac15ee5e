"""Models on disk: what an ONNX file and its spec say, and where packages lie."""
