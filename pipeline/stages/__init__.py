"""What a recipe can ask for: one module per stage."""
