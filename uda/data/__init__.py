"""Datasets: their files, pictures, parts and views."""
