"""BLAKE3 in plain Python, 32 bytes of output: Debian has no package of it. Slow, and meant to be read beside the paper."""

from struct import pack, unpack

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
# The columns, then the diagonals of the state: which four words each quarter round mixes.
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
BLOCK, CHUNK, WORD = 64, 1024, 0xFFFFFFFF


def _schedule():
    """Which message words the quarter rounds of the seven rounds take, so that no block is permuted at run time."""
    order, rounds = tuple(range(16)), []
    for _ in range(7):
        rounds += [(*quarter, order[2 * i], order[2 * i + 1]) for i, quarter in enumerate(QUARTERS)]
        order = tuple(order[place] for place in PERMUTATION)
    return tuple(rounds)


SCHEDULE = _schedule()


def _compress(chaining, block, counter, flags):
    """The compression function: eight words of chaining value and up to 64 bytes give eight words."""
    words = unpack('<16I', block.ljust(BLOCK, b'\0'))
    s = [*chaining, *IV[:4], counter & WORD, counter >> 32, len(block), flags]
    for a, b, c, d, x, y in SCHEDULE:
        sa = (s[a] + s[b] + words[x]) & WORD
        sd = s[d] ^ sa
        sd = (sd >> 16 | sd << 16) & WORD
        sc = (s[c] + sd) & WORD
        sb = s[b] ^ sc
        sb = (sb >> 12 | sb << 20) & WORD
        s[a] = sa = (sa + sb + words[y]) & WORD
        sd ^= sa
        s[d] = sd = (sd >> 8 | sd << 24) & WORD
        s[c] = sc = (sc + sd) & WORD
        sb ^= sc
        s[b] = (sb >> 7 | sb << 25) & WORD
    return [s[i] ^ s[i + 8] for i in range(8)]


def _chunk(data, counter, flags):
    """The chaining value of up to 1024 bytes; `flags` is ROOT where the chunk is the whole input."""
    value, blocks = IV, [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)] or [b'']
    for index, block in enumerate(blocks):
        start = CHUNK_START if index == 0 else 0
        end = CHUNK_END | flags if index == len(blocks) - 1 else 0
        value = _compress(value, block, counter, start | end)
    return value


def _tree(data, counter, flags):
    """Chaining value of the tree over `data`: the left side holds the largest power of two of chunks below all of it."""
    chunks = (len(data) + CHUNK - 1) // CHUNK
    if chunks <= 1:
        return _chunk(data, counter, flags)
    left = 1 << (chunks - 1).bit_length() - 1
    sides = [*_tree(data[:left * CHUNK], counter, 0), *_tree(data[left * CHUNK:], counter + left, 0)]
    return _compress(IV, pack('<16I', *sides), 0, PARENT | flags)


def blake3(data):
    """The 32-byte BLAKE3 hash of `data`."""
    return pack('<8I', *_tree(bytes(data), 0, ROOT))
