"""Networks: backbones, bottlenecks and classifiers."""
