"""Checkpoints of other frameworks: name tables, both directions, and safetensors files."""
