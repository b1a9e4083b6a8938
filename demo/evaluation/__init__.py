"""Edits of held-out faces, and how good they are."""
