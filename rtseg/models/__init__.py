"""Segmentation networks, one file per paper; `rtseg.registry.NETWORKS` names them."""
