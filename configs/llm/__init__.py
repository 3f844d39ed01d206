"""Recorded completions of language models, replayed by the provider `recorded:`."""
