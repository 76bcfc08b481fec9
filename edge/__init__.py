"""The plant's side: cameras and triggers in, verdicts and commands out.

Imports neither the method (``musc``) nor the machinery between (``pipeline``),
and never torch, so that it starts in an instant on the smallest box.
"""
