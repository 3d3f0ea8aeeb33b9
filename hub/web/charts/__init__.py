"""Figures drawn as SVG on the server."""
