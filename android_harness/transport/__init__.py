"""The one narrow seam to a phone, and its implementations."""
