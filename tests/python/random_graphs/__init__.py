"""Random ONNX graphs, and what `random_graphs.py` does with them."""
