"""Large-step symplectic networks: generating functions learned from our own integrator's orbits, and what piecewise activations do to them.

Li, Li and Xia, arXiv 2208.14148; Chen and Tao, arXiv 2103.05632.
"""
