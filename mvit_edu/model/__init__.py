"""Part I of the book: the model. Imports torch and einops only."""
