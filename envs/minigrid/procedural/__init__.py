"""Levels generated inside the kernel, one anew for every episode, distributed as upstream's own generators make them.

The draws are not upstream's, so no seed gives the same level there; the distribution of levels is the same, and
tested. Where upstream samples by rejection, the kernels count what would be accepted and draw from that instead.
"""
