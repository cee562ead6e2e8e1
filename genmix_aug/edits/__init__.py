"""Edits of images: planned, made once, stored and served."""
