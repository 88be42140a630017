"""Sends frames that no stack sends.

Reads a line for each case, a number, a mark and an expression with tabs between them, and answers
with how many frames it has sent. The expression gives a scapy packet or a list of them, in the
words below. The mark goes behind each frame, where IP sees no more than Ethernet padding. With
neighbour discovery nothing may stand there, so that its mark is a nonce; it has six bytes at most.
"""

import sys
from scapy.all import *
import socket

interface, ip4, ip6, victim_mac, victim4, victim6, gateway4, gateway6 = sys.argv[1:]
mac = get_if_hwaddr(interface)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))

BROADCAST = "ff:ff:ff:ff:ff:ff"
eth = Ether(src=mac, dst=victim_mac)
v4 = IP(src=ip4, dst=victim4)
v6 = IPv6(src=ip6, dst=victim6)
# Solicitations and advertisements count from here alone.
nd = IPv6(src=ip6, dst=victim6, hlim=255)


def words(number):
    """Each case has a flow of its own."""
    port = 20000 + number

    def tcp(flags, **fields):
        return TCP(**{"sport": port, "dport": 80, "flags": flags, **fields})

    def udp(**fields):
        return UDP(**{"sport": port, "dport": 9000, **fields})

    return {"tcp": tcp, "syn": tcp("S"), "udp": udp, "port": port}


def marked(frame, mark):
    if any(layer.__name__.startswith("ICMPv6ND_") for layer in frame.layers()):
        return bytes(frame / Raw(bytes([14, 1]) + mark.ljust(6, b"\0")))
    return bytes(frame) + mark


for line in sys.stdin:
    number, mark, expression = line.rstrip("\n").split("\t")
    frames = eval(expression, {**globals(), **words(int(number))})
    frames = frames if isinstance(frames, list) else [frames]
    for frame in frames:
        wire.send(marked(frame, mark.encode()))
    print(len(frames), flush=True)
