"""Training: data, transforms, losses, metrics and the script that puts them together."""
