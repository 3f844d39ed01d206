"""CALM: a language model splits a task into subgoals and judges, transition by transition, which of them ended."""
