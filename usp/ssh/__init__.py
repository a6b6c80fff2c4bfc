"""All that the daemons know about asyncssh.

keys: texts <-> keys · options: what each of the four SSH legs offers and accepts · connect: how a leg starts ·
fastpath, sending: the bytes of channels, in and out · control: lines between the two ends of a tunnel · failures: what
foreign exceptions mean.

The four legs: partner -> server, server -> target, and the two ends of a tunnel.
"""
