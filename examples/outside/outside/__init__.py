"""Kinds of one's own: each is one class in one file."""
