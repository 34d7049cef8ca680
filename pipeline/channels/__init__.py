"""Which channels of a Keras model hang together, and the rewrite that removes them."""
