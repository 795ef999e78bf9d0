"""Learned sizes on images: a small convolutional network on scikit-learn's handwritten digits."""
