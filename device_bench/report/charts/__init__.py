"""Static charts of a page. Importing the drawing modules is slow (Altair); pages do it late."""
