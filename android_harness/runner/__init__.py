"""The on-phone runner: C source, its build, the portable bundle per ABI."""
