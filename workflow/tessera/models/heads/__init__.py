"""Heads: small networks from an encoder's last map z to what a task predicts."""
