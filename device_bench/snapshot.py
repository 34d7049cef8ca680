"""The phone's state as it is stored: what the parsers found, in the units of the record."""
