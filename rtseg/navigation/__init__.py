"""Free space and obstacles on flat ground: pure geometry on label maps."""
