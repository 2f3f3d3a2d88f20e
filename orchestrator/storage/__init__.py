"""The driver's side of a sweep that lives in a bucket: the lease that keeps others out, and the mirror of its folder."""
