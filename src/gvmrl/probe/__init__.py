"""Would allocation help here? Gradient variance and signal-to-noise at fixed parameters."""
