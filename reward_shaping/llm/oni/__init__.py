"""ONI: events become captions, a language model judges them aside of the learner, a model of its judgements pays.

Zheng et al., "Online intrinsic rewards for decision making agents from large language model feedback" (RLC 2025,
arXiv 2410.23022).
"""
