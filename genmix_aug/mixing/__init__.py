"""Seams, fractals and GenMix itself."""
