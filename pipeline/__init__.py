"""Everything between the plant's side and the method: config, processes, ledger.

Imports ``edge`` and ``musc``; neither imports it.
"""
