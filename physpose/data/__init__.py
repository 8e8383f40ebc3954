"""Data to train and test networks on: generated sequences of moving people, and public data sets."""
