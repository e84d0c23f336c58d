"""Fields of forms: what they may hold, what stands in them, and what to doubt."""
