"""What a driver does for a sweep that lives in a bucket: the lease that keeps others out, and the mirror of its folder."""
