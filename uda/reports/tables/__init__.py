"""The tables of a report, and their text in every format."""
