"""Datasets: descriptions, images, partitions and views."""
