"""Recipe to plan to stages to artifacts; the only place TensorFlow is imported."""
