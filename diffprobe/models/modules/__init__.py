"""The networks of our own, as diffusers models."""
