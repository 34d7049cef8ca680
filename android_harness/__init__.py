"""Everything that talks to a phone; imports none of our other packages."""
