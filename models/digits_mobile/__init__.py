"""Handwritten digits by a small MobileNetV2: the recipe that needs nothing downloaded."""
