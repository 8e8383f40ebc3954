"""Losses: one function an equation, from tensors to a residual."""
