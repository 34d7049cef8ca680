"""One folder per recipe: recipe.toml and model.py."""
