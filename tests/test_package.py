"""The package as a whole: what importing it costs, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import reidentify

ROOT = Path(reidentify.__file__).parent
# A folder imports only what stands lower; the ground (models, losses, ranking) does not know one another.
FLOORS = [
    {"values", "batch", "joints", "errors", "files", "hints"},
    {"models", "losses", "ranking"},
    {"data", "gallery", "zoo", "recipes"},
    {"embed", "pose", "pairs", "mining", "calibrate", "attributes", "street", "report"}
    | {"generation", "generation_scores"},
    {"training", "tracking"},
    {"server"},
    {"commands"},
    {"cli"},
]
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "reidentify" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return {name.split(".")[1] for name in found if name.startswith("reidentify.")} & FLOOR.keys()


def test_the_arrows_go_down() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if own not in FLOOR:
            continue
        for other in imports(path) - {own}:
            if FLOOR[other] > FLOOR[own] or (FLOOR[other] == FLOOR[own] == 1):
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_importing_is_light() -> None:
    """Neither torch nor anything optional is loaded before it is needed."""
    heavy = ["torch", "timm", "pytorch_lightning", "matplotlib", "pyarrow", "faiss", "onnxruntime", "openvino", "av"]
    code = f"import sys, reidentify; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_optional_parts_are_imported_where_they_belong() -> None:
    allowed = {"trimesh": "street", "embreex": "street", "av": "street", "onnx": "models", "onnxruntime": "models"}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                place = allowed.get(name.split(".")[0])
                assert place is None or path.relative_to(ROOT).parts[0] == place, f"{path} imports {name}"


def test_public_names_exist() -> None:
    for name in reidentify.__all__:
        assert getattr(reidentify, name) is not None
