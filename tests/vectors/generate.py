#!/usr/bin/env python3
"""What a split does, once more and independently: run it to write split.json.

    pip install xxhash && python3 generate.py > split.json

The functions down to `pick` are the whole definition, for whoever needs it in another language.
Python's integers do not overflow; where it matters, a comment says how many bits are enough.
"""

import json
import math
import struct
import sys

import xxhash


def seed(salt: bytes) -> int:
    return xxhash.xxh3_64_intdigest(salt, seed=0)


def hash(key: bytes, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(key, seed=seed)


def bucket(h: int) -> int:
    return h * 1_000_000 >> 64  # 84 bits


def uniform(h: int) -> float:
    return ((h >> 11) | 1) / 2.0**53  # exact


def log(x: float) -> float:
    """The natural logarithm of 0 < x < 1, operation by operation.

    Not math.log: that is the platform's, and may differ from this one in the last bit (glibc's does for
    7 in 100). The method is fdlibm's, in the form that Rust's libm has.
    """
    bits = struct.unpack("<Q", struct.pack("<d", x))[0]
    # x = 2^k * (1 + f) with sqrt(2)/2 < 1 + f < sqrt(2)
    high = (bits >> 32) + (0x3FF00000 - 0x3FE6A09E)
    k = (high >> 20) - 0x3FF
    high = (high & 0x000FFFFF) + 0x3FE6A09E
    f = struct.unpack("<d", struct.pack("<Q", high << 32 | bits & 0xFFFFFFFF))[0] - 1.0
    half = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    t2 = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    r = t2 + t1
    return s * (half + r) + k * 1.90821492927058770002e-10 - half + f + k * 6.93147180369123816490e-01


def draw(h: int, name: str) -> int:
    """Eight bytes of the key's hash, hashed again with the cluster's name; at most 64 bits."""
    u = uniform(hash(struct.pack("<Q", h), seed(name.encode())))
    return int(-log(u) * 2.0**58)  # rounds towards 0


def pick(h: int, weights: list[tuple[str, int]]) -> str:
    """The least draw / weight, compared without dividing; of equal ones the smaller name in bytes."""
    best = None
    for name, weight in weights:
        if weight == 0:
            continue
        d = draw(h, name)
        if best is not None:
            this, that = d * best[1], best[2] * weight  # 128 bits
            if this > that or (this == that and name.encode() > best[0].encode()):
                continue
        best = (name, weight, d)
    return best[0]


# What the vectors are made of.

SALTS = ["", "checkout", "next-checkout", "prod", "größe", "灰度"]

KEYS = [
    b"",
    b"7",
    b"42",
    b"1001",
    b"u-314159",
    b"10.1.2.3",
    b"2001:db8::1",
    b"alice@example.com",
    "håkon".encode(),
    "用户一".encode(),
    b"f47ac10b-58cc-4372-a567-0e02b2c3d479",
    bytes.fromhex("00"),
    bytes.fromhex("00ff80c3287fdeadbeef"),
    b"k" * 128,
    b"0123456789abcdef" * 15,  # 240 bytes: the last length of XXH3's middle way
    b"0123456789" * 30,  # 300 bytes: beyond it
    bytes(i % 251 for i in range(1025)),  # more than one block
]

# In steps of 0.0001, as `Split::new` takes them: gray 5, prod 95 is 50000 and 950000.
WEIGHTS = [
    [("gray", 50_000), ("prod", 950_000)],
    [("gray", 500_000), ("prod", 500_000)],
    [("gray", 0), ("prod", 1)],
    [("a", 1), ("b", 1), ("c", 1)],
    [("a", 10_000), ("b", 20_000), ("c", 30_000), ("d", 40_000)],
    [("canary", 5_000), ("prod_a", 497_500), ("prod_b", 497_500)],
    [("灰", 100_000), ("prod", 900_000)],
    [("one", 1), ("rest", 999_999_999_999_999)],
    [(f"c{i:02}", 1 + i) for i in range(20)],
]


def text(data: bytes) -> dict:
    """UTF-8 where that is readable, hex where it is not."""
    try:
        string = data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}
    return {"text": string} if string.isprintable() and len(data) < 200 else {"hex": data.hex()}


def float_bits(x: float) -> str:
    return struct.pack(">d", x).hex()


def main() -> None:
    hashes = [
        {
            "salt": salt,
            "key": text(key),
            "seed": f"{seed(salt.encode()):016x}",
            "hash": f"{hash(key, seed(salt.encode())):016x}",
            "bucket": bucket(hash(key, seed(salt.encode()))),
        }
        for salt in SALTS
        for key in KEYS
    ]
    # The ends and the middle, then what the hashes above lead to.
    inputs = [0, 0x7FF, 0x800, 2**63 - 1, 2**63, 2**64 - 0x1000, 2**64 - 1]
    inputs += [hash(struct.pack("<Q", int(v["hash"], 16)), seed(b"gray")) for v in hashes[:40]]
    draws = []
    for h in inputs:
        u = uniform(h)
        ours, theirs = log(u), math.log(u)
        assert abs(ours - theirs) <= math.ulp(theirs), (u, ours, theirs)
        draws.append(
            {
                "hash": f"{h:016x}",
                "uniform": float_bits(u),
                "exponential": float_bits(-ours),
                "draw": int(-ours * 2.0**58),
            }
        )
    splits = []
    for weights in WEIGHTS:
        keys = [hash(key, seed(salt.encode())) for salt in ["checkout", "灰度"] for key in KEYS]
        splits.append({"weights": weights, "picks": {f"{h:016x}": pick(h, weights) for h in keys}})
    # One record a line, so that a difference is readable.
    lists = {"hashes": hashes, "draws": draws, "splits": splits}
    rows = (
        f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
        for name, rows in lists.items()
    )
    print("{" + ",\n".join(rows) + "}")


if __name__ == "__main__":
    main()
