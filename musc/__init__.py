"""The method: anomaly scores from patch tokens, with nothing learned and no labels.

Tensors in, tensors out. The package opens no file but the weights it is given,
no socket and no database, and prints nothing; importing ``musc`` itself loads
no other module.

Source: Li et al., MuSc: Zero-Shot Industrial Anomaly Classification and
Segmentation with Mutual Scoring of the Unlabeled Images, ICLR 2024.
"""
