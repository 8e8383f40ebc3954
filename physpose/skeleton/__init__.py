"""Skeletons: definitions, loading, subjects' proportions, what keypoints are on the body."""

from physpose.skeleton.describe import describe as describe
from physpose.skeleton.files import list_skeletons as list_skeletons
from physpose.skeleton.load import load_skeleton as load_skeleton
