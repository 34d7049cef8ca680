"""Measuring, judging, telling; imports android_harness and pipeline.artifact, never TensorFlow."""
