"""EmojiHome, the benchmark that is built here from four vendors' emoji."""
