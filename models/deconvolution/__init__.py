"""Multi-frame blind deconvolution by an unrolled network (Asensio Ramos et al., arXiv 2306.12078), from the equations."""
