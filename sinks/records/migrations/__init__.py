"""Alembic's folder: `env.py`, and a file for each version of the schema."""
