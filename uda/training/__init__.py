"""The two training loops: supervised on the source, and adaptation to the target."""
