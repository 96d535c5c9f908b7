"""Writes first inputs of the fuzz targets from the fixtures of crates/data/tests: fuzz/corpus/TARGET/NAME."""

import pathlib
import struct
import zipfile

here = pathlib.Path(__file__).parent
fixtures = here.parent / "crates/data/tests/fixtures"


def write(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def pieces(parts):
    return b"".join(bytes([min(255, -(-len(p) // 4))]) + p[: 255 * 4].ljust(-(-len(p) // 4) * 4, b"\0") for p in parts)


for path in fixtures.glob("*.h*5"):
    write("hdf5", path.name, path.read_bytes())
for kind, (path, names) in enumerate(
    [
        ("qm22_ethanol.npz", ["z", "R", "F", "E", "units", "charge", "mult"]),
        ("rmd17_ethanol.npz", ["nuclear_charges", "coords", "forces", "energies"]),
        ("corpus.npz", ["n_atoms", "numbers", "positions", "forces", "charge", "species", "source"]),
    ]
):
    with zipfile.ZipFile(fixtures / path) as archive:
        present = set(archive.namelist())
        arrays = [archive.read(f"{name}.npy") for name in names if f"{name}.npy" in present]
    write("npz", f"arrays-{path}", bytes([2 * kind]) + pieces(arrays))
    write("npz", path, b"\1" + (fixtures / path).read_bytes())
for path in (fixtures / "qcml").rglob("*.tfrecord*"):
    data = path.read_bytes()
    write("tfrecord", path.parent.parent.name + path.name, b"\1" + data)
    records, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        records.append(data[at + 12 : at + 12 + length])
        at += length + 16
    write("tfrecord", "records-" + path.parent.parent.name + path.name, b"\0" + pieces(records))
water = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 charge=0 spin=1 smiles=\"O\" pbc=\"F F F\" dipole=\"0 0 1\""
atoms = "O 0 0 0 0.1 0 0\nH 0.96 0 0 -0.1 0.1 0\nH -0.24 0.93 0 0 -0.1 0\n"
write("xyz", "extended", f"3\n{water}\n{atoms}3\n{water}\n{atoms}".encode())
write("xyz", "plain", b"2\nhydrogen molecule's bond\nH 0 0 0\n1 0 0 0.74\n\n")
write("split", "split", b'{"format":"mdet split 1","method":"","reading":{"units":null,"labels":"new"},"sources":[{"path":"st","n_structures":7,"sha256":"0"}],"parts":{"a":{"list":[1,2,5]},"b":"rest"}}')
columns = [("first_atom", "U64", [2], struct.pack("<2Q", 0, 1)), ("energy", "F64", [1], bytes(8)), ("molecule", "U64", [1], bytes(8)), ("positions", "F32", [1, 3], bytes(12)), ("forces", "F32", [1, 3], bytes(12)), ("dipole", "F32", [1, 3], bytes(12)), ("charge", "I32", [1], bytes(4)), ("multiplicity", "I32", [1], struct.pack("<i", 2)), ("numbers", "U8", [1], b"\1")]
header, at = [], 0
for name, kind, shape, data in columns:
    header.append(f'"{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{at},{at + len(data)}]}}'.replace(" ", ""))
    at += len(data)
text = "{" + ",".join(header) + "}"
text = text.ljust(-(-len(text) // 8) * 8).encode()
write("store", "shard", b"\1" + struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in columns))
