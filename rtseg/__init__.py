"""Real-time video segmentation: frames in, exact label maps and overlays out, the latency of every frame known."""

__version__ = "0.1.0"
