"""Whether, when and whom to disturb, and in which words."""
