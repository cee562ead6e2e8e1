"""Packages of the wheel: setup.cfg has the rest."""

from setuptools import find_packages, setup

# The experiments' files lie in configs/, and in a wheel in the package uda.
setup(packages=[*find_packages(include=["uda*", "genmix_aug*"]), "uda.configs"])
