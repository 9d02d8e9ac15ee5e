"""Classification networks as feature extractors, one file per paper; `rtseg.registry.ENCODERS` names them."""
