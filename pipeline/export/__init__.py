"""Trained model to files that phones run."""
