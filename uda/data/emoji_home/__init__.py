"""EmojiHome, a benchmark built on the user's machine from four vendors' emoji."""
