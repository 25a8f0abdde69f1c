"""Endpoints: chat models behind HTTP, asked with patience, a cache and a limit of requests."""
