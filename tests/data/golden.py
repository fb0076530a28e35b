#!/usr/bin/python3
"""Prints tests/data/golden.h: what layers, loss and scores give on a six-node graph, computed with
dense matrices in double precision. `python3 golden.py > golden.h` makes the header again."""

import numpy as np

N, FEATURES, HIDDEN, CLASSES = 6, 5, 4, 3
# (src, dst, type); type 1 is the inverse type. Node 5 has no in-edge; 3 -> 2 is there twice.
EDGES = [(0, 1, 0), (2, 1, 0), (5, 1, 1), (0, 2, 0), (1, 2, 1), (3, 2, 0), (3, 2, 0), (4, 3, 1),
         (5, 3, 0), (2, 4, 0), (1, 0, 1), (4, 0, 0)]
EDGE_WEIGHTS = [0.5, 1.5, 1.0, 2.0, 0.25, 1.0, 0.75, 3.0, 0.5, 1.25, 1.0, 0.125]
LABELS = [2, 0, -1, 1, 1, 0]


def numbers(rows, cols, salt):
    """Fractions of 8, exact in single precision; about a third are zero."""
    i, j = np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij")
    raw = (i * 7 + j * 5 + i * j * 3 + salt) % 13 - 6
    return np.where((i + 2 * j + salt) % 3 == 0, 0, raw) / 8.0


def emit(name, array, kind="double"):
    flat = np.asarray(array).ravel()
    form = {"double": "%.15g", "float": "%.8gf", "int32_t": "%d", "uint32_t": "%d", "uint16_t": "%d"}
    parts = [form[kind] % v for v in flat]
    if kind == "float":
        parts = [p if "." in p or "e" in p else p[:-1] + ".0f" for p in parts]
    print("static const %s GOLDEN_%s[%d] = {" % (kind, name, len(flat)))
    for at in range(0, len(parts), 5):
        print("    " + ", ".join(parts[at:at + 5]) + ",")
    print("};")


def adjacency(types, weights=None):
    a = np.zeros((N, N))
    for k, (src, dst, kind) in enumerate(EDGES):
        if kind in types:
            a[dst, src] += 1.0 if weights is None else weights[k]
    return a


def mean(a):
    return a / np.maximum(a.sum(axis=1, keepdims=True), 1)


def maximum(x):
    out = np.zeros_like(x)
    for node in range(N):
        sources = [src for src, dst, _ in EDGES if dst == node]
        if sources:
            out[node] = x[sources].max(axis=0)
    return out


def gcn_matrix(weights=None):
    degree = adjacency((0, 1)).sum(axis=1) + 1
    a = adjacency((0, 1), weights) + np.eye(N)
    # The self loop of the layer has weight 1 in weighted graphs too.
    return a / np.sqrt(degree[:, None] * degree[None, :])


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def macro_f1(labels, predictions):
    scores = []
    for c in sorted(set(labels) | set(predictions)):
        hits = sum(l == c and p == c for l, p in zip(labels, predictions))
        wrong = sum(l != c and p == c for l, p in zip(labels, predictions))
        missed = sum(l == c and p != c for l, p in zip(labels, predictions))
        scores.append(2 * hits / (2 * hits + wrong + missed))
    return sum(scores) / len(scores)


def emit_inputs():
    order = sorted(range(len(EDGES)), key=lambda k: EDGES[k][1])
    degree = [sum(dst == node for _, dst, _ in EDGES) for node in range(N)]
    print("#define GOLDEN_NODES %d\n#define GOLDEN_EDGES %d" % (N, len(EDGES)))
    print("#define GOLDEN_FEATURES %d\n#define GOLDEN_HIDDEN %d" % (FEATURES, HIDDEN))
    print("#define GOLDEN_CLASSES %d" % CLASSES)
    emit("INDPTR", np.concatenate([[0], np.cumsum(degree)]), "uint32_t")
    emit("INDICES", [EDGES[k][0] for k in order], "uint32_t")
    emit("TYPES", [EDGES[k][2] for k in order], "uint16_t")
    emit("EDGE_WEIGHTS", [EDGE_WEIGHTS[k] for k in order], "float")
    emit("DEGREES", degree, "uint32_t")
    emit("LABELS", LABELS, "int32_t")


def emit_layers(x, w, bias):
    everything = adjacency((0, 1))
    emit("SAGE_MEAN", x @ w[0] + mean(everything) @ x @ w[1] + bias)
    emit("SAGE_SUM", x @ w[0] + everything @ x @ w[1] + bias)
    emit("SAGE_MAX", x @ w[0] + maximum(x) @ w[1] + bias)
    apart = mean(adjacency((0,))) @ x @ w[1] + mean(adjacency((1,))) @ x @ w[2]
    emit("SAGE_APART", x @ w[0] + apart + bias)
    emit("GCN", gcn_matrix() @ x @ w[0] + bias)
    emit("GCN_WEIGHTED", gcn_matrix(EDGE_WEIGHTS) @ x @ w[0] + bias)


def emit_model(x, w, bias, v, bias2):
    """relu between two convolutions, and the loss with its gradient."""
    a = mean(adjacency((0, 1)))
    hidden = np.maximum(x @ w[0] + a @ x @ w[1] + bias, 0)
    logits = hidden @ v[0] + a @ hidden @ v[1] + bias2
    emit("SAGE_MODEL", logits)
    hidden_gcn = np.maximum(gcn_matrix() @ x @ w[0] + bias, 0)
    emit("GCN_MODEL", gcn_matrix() @ hidden_gcn @ v[0] + bias2)
    counted = [i for i in range(N) if LABELS[i] >= 0]
    chances = softmax(logits)
    picked = np.array([LABELS[i] for i in counted])
    grad = np.zeros_like(logits)
    grad[counted] = chances[counted] / len(counted)
    grad[counted, picked] -= 1 / len(counted)
    predictions = [int(logits[i].argmax()) for i in counted]
    emit("LOSS", [-np.log(chances[counted, picked]).mean()])
    emit("LOSS_GRAD", grad)
    emit("ACCURACY", [np.mean([p == LABELS[i] for p, i in zip(predictions, counted)])])
    emit("MACRO_F1", [macro_f1([LABELS[i] for i in counted], predictions)])
    # Gradients through the whole model, by the chain rule on dense matrices.
    emit("MODEL_DV_SELF", hidden.T @ grad)
    emit("MODEL_DV_NEIGHBORS", (a @ hidden).T @ grad)
    dhidden = (grad @ v[0].T + a.T @ grad @ v[1].T) * (hidden > 0)
    emit("MODEL_DW_SELF", x.T @ dhidden)
    emit("MODEL_DW_NEIGHBORS", (a @ x).T @ dhidden)
    emit("MODEL_DBIAS", dhidden.sum(axis=0))
    emit("MODEL_DX", dhidden @ w[0].T + a.T @ dhidden @ w[1].T)


def main():
    print("/* Printed by golden.py (NumPy, double precision). */")
    print("#ifndef ANTHILL_TESTS_DATA_GOLDEN_H\n#define ANTHILL_TESTS_DATA_GOLDEN_H\n")
    print("#include <stdint.h>\n")
    print("/* clang-format off */")
    emit_inputs()
    x = numbers(N, FEATURES, 1)
    w = [numbers(FEATURES, HIDDEN, salt) for salt in (2, 3, 4)]
    v = [numbers(HIDDEN, CLASSES, salt) for salt in (5, 6)]
    bias, bias2 = numbers(1, HIDDEN, 10), numbers(1, CLASSES, 8)
    for name, array in [("X", x), ("W0", w[0]), ("W1", w[1]), ("W2", w[2]), ("V0", v[0]),
                        ("V1", v[1]), ("BIAS", bias), ("BIAS2", bias2)]:
        emit(name, array, "float")
    emit_layers(x, w, bias)
    emit_model(x, w, bias, v, bias2)
    print("/* clang-format on */\n\n#endif")


main()
