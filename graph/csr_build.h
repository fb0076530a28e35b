/* From a file of edges in any order to the in-edge arrays of each partition. Memory is a few bytes
 * a node plus one bucket of edges: edges are counted by dst, written to buckets of neighbouring dst
 * nodes in a temporary file, and each bucket is sorted in memory.
 *
 * The in-edges of a node are in ascending order of (time, src, type), edges without times in that
 * of (src, type); equal ones keep the order in which they came. */
#ifndef ANTHILL_GRAPH_CSR_BUILD_H
#define ANTHILL_GRAPH_CSR_BUILD_H

#include "graph/edge_file.h"
#include "graph/graph_metadata.h"

enum graph_reverse {
    REVERSE_NONE,      /* edges as they came */
    REVERSE_SYMMETRIC, /* each edge also against its direction, with the same type */
    REVERSE_INVERSE,   /* the same, with a type of its own: type + type_count */
};

struct csr_options {
    struct edge_layout layout; /* of the result; `typed` is set for REVERSE_INVERSE */
    enum graph_reverse reverse;
    uint32_t type_count; /* before inverse ones are added */
    bool dedupe;         /* of equal (src, dst, type, time) the first is kept */
    bool drop_self_loops;
    uint64_t memory_bytes; /* for sorting */
};

struct csr_counts {
    uint64_t self_loops; /* dropped */
    uint64_t duplicates; /* dropped */
};

/* Writes indptr, indices, halo and the edge arrays of every partition into `folder`/part-<p>, which
 * exist, with temporary files in `temporary`. `global` maps the node numbers of the edge file to
 * global ids (NULL: they are the same). Fills edge_count and halo_count of the partitions and
 * type_edge_counts[type_count, or twice that]. `edges` is read several times.
 *   errors   STATUS_IO; STATUS_STOPPED after a signal; STATUS_INVALID for a node with 2^32 in-edges
 */
enum status csr_build(struct edge_file *edges, const uint32_t *global,
                      const struct csr_options *options, const char *folder, const char *temporary,
                      struct graph_metadata *metadata, uint64_t *type_edge_counts,
                      struct csr_counts *counts, struct error *error) MUST_CHECK;

#endif
