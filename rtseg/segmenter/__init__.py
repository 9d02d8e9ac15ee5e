"""A network ready for frames, on the host or on a GPU: labels from images."""
