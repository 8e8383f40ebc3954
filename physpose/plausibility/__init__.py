"""Is a motion possible? Measures of anatomy and physics, frame by frame, with value, unit, threshold and source."""

from physpose.plausibility.assess import assess
from physpose.plausibility.finding import Finding, Measure, Plausibility
from physpose.plausibility.recording import Recording
from physpose.plausibility.settings import PlausibilitySettings

__all__ = ["Finding", "Measure", "Plausibility", "PlausibilitySettings", "Recording", "assess"]
