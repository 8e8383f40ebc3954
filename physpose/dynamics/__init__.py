"""Rigid-body dynamics of a kinematic chain: one meaning, several engines."""
