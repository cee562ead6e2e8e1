"""The editor `neural_style`: small networks that learned to paint, on any CPU."""
