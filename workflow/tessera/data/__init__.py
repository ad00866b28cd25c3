"""Datasets, prepared once and kept as uint8 tensors; batched augmentation."""
