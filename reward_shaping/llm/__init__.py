"""Rewards written by language models: the model behind one interface, and a sandbox for the code it writes."""
