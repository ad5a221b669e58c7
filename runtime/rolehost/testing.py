"""Fixtures for tenants' own tests."""
