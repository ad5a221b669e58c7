"""Whoever answers: `openai` (any server of that wire), `scripted` (no model), `router` picks by the backend's type."""
