"""Exact inference over languages: one recursion per engine, and what follows from it."""
