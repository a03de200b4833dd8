"""Ops HTTP: health, metrics, the status API and the live page."""
