"""Numbers in, numbers out: one operation a file, the NumPy reference beside the native path."""
