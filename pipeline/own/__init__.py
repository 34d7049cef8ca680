"""A Keras model of the user's own, with data of their own, as an ordinary recipe."""
