"""Runnable simulations of moving bodies whose truth is known: demonstrations, and ground truth for the tests.

``python -m sims.walk --picture walk.png`` and so on, from the repository's root; ``--help`` lists the options.
"""
