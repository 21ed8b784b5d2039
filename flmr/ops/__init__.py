"""Numbers in, numbers out: each op is one file with its NumPy reference beside its native path.

Knows arrays.  Knows nothing of files, models or indexes; torch only inside the functions that are given its tensors.
"""
