"""The virtual phone (real adbd) and the simulated phone (fault injection)."""
