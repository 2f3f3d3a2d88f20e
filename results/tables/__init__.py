"""Builds accuracy tables from trial records, with their statistics and notes, and renders them."""
