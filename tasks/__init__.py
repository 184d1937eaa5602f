"""Prefect tasks: retries, concurrency, states and UI artifacts around the rooms' functions."""
