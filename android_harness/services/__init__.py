"""Samplers that run during a measurement: one start/stop life cycle."""
