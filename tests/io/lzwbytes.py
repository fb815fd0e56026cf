"""A writer of the .Z format, since the compress program is seldom installed."""

from __future__ import annotations


def lzw_compress(data: bytes, max_bits: int = 16) -> bytes:
    """A plain writer of the .Z format without clear codes, for the tests."""
    table = {bytes([i]): i for i in range(256)}
    codes: list[tuple[int, int]] = []
    bits, current, free = 9, b"", 257
    for byte in data:
        extended = current + bytes([byte])
        if extended in table:
            current = extended
            continue
        codes.append((table[current], bits))
        if free < 1 << max_bits:
            table[extended] = free
            free += 1
            if free > 1 << bits and bits < max_bits:
                bits += 1
        current = bytes([byte])
    if current:
        codes.append((table[current], bits))
    return b"\x1f\x9d" + bytes([0x80 | max_bits]) + _packed(codes)


def _packed(codes: list[tuple[int, int]]) -> bytes:
    out = bytearray()
    while codes:
        width = codes[0][1]
        group = [c for c, w in codes[:8] if w == width]
        number = sum(code << (width * i) for i, code in enumerate(group))
        codes = codes[len(group) :]
        full = width if codes else -(-len(group) * width // 8)  # groups are padded where the width changes
        out += number.to_bytes(width, "little")[:full]
    return bytes(out)
