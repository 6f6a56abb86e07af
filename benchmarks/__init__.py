"""Speed and memory of mvit_edu beside torchvision and PyTorchVideo: `make bench`, or `python -m benchmarks --help`."""
