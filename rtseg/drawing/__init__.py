"""From labels to the picture that a person sees."""
