"""Random filters recombined by 1x1 convolutions: networks, training and claims of Gavrikov and Keuper, arXiv 2301.11360."""
