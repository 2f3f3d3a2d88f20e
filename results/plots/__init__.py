"""Draws the pictures of a sweep's tables with matplotlib."""
