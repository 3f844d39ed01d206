"""LaRe: per-step rewards learned from returns, over latent factors that a language model wrote (arXiv 2412.11120)."""
