"""Files in and out: videos, keypoints, cameras, tables."""
