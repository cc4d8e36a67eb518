"""Reads a request, draws an answer."""
