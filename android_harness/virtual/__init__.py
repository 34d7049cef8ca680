"""Virtual phones: Android's own adbd without a phone (README.md in this folder)."""
