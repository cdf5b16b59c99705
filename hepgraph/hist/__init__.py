"""Histograms with recorded fills."""
