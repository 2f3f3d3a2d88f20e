"""Sweeps in a bucket: addresses such as ``s3://BUCKET/PREFIX``, their objects, and bringing a sweep down from there."""
