"""Messages and methods of TensorFlow Serving and of the Open Inference Protocol v2."""
