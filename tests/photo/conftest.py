import struct

import numpy as np
import pytest

DISPLAY_P3 = {
    "rXYZ": (0.51512, 0.2412, -0.00105),
    "gXYZ": (0.29198, 0.69225, 0.04189),
    "bXYZ": (0.1571, 0.06657, 0.78407),
}


def _tag(kind, content):
    return kind + b"\0\0\0\0" + content


@pytest.fixture
def make_profile():
    """Makes a version 2 ICC profile of the matrix kind: primaries (D50 XYZ), one gamma for all, a name."""

    def make(primaries=DISPLAY_P3, gamma=2.2, name="test", space=b"RGB ", table=None):
        text = name.encode() + b"\0"
        curve = (
            struct.pack(">IH", 1, round(gamma * 256))
            if table is None
            else (struct.pack(">I", len(table)) + np.asarray(table, ">u2").tobytes())
        )
        tags = {
            b"desc": _tag(b"desc", struct.pack(">I", len(text)) + text + b"\0" * 78),
            b"wtpt": _tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061)),
        }
        if space == b"GRAY":
            tags[b"kTRC"] = _tag(b"curv", curve)
        else:
            for channel in "rgb":
                xyz = [round(v * 65536) for v in primaries[f"{channel}XYZ"]]
                tags[f"{channel}XYZ".encode()] = _tag(b"XYZ ", struct.pack(">3i", *xyz))
                tags[f"{channel}TRC".encode()] = _tag(b"curv", curve)
        offset, table_bytes, body = 132 + 12 * len(tags), b"", b""
        for key, content in tags.items():
            content += b"\0" * (-len(content) % 4)
            table_bytes += struct.pack(">4sII", key, offset + len(body), len(content))
            body += content
        header = struct.pack(
            ">I4sI4s4s4s12s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ", b"\0" * 12, b"acsp"
        )
        header += b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
        header = header.ljust(128, b"\0")
        return header + struct.pack(">I", len(tags)) + table_bytes + body

    return make
