"""A network for others to run: ONNX, torch.export, frame by frame, int8."""
