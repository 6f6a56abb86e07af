"""Training steps of MViT-B 16x4 on a GPU: `python -m benchmarks.gpu --help`."""
