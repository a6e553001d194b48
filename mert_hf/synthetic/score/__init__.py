"""What is played: theory, plan, composition, and its labels."""
