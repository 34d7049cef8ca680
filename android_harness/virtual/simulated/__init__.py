"""The simulated phone: an adb daemon of our own, for faults and fleets, and for any host."""
