"""Networks: backbone, bottleneck and classifier."""
