/* A temporary file of edges between node numbers, written once and read from start to end as often
 * as needed. A record has only the fields that the graph has: 8 bytes for a plain edge. */
#ifndef ANTHILL_GRAPH_EDGE_FILE_H
#define ANTHILL_GRAPH_EDGE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/error.h"

struct edge {
    uint32_t src, dst;
    int64_t time;
    float weight;
    uint16_t type;
    uint8_t split;
};

/* Which fields beside src and dst a record has. */
struct edge_layout {
    bool typed, weighted, timed, split;
};

#define EDGE_RECORD_BYTES_MAX 24

static inline size_t edge_record_bytes(struct edge_layout layout)
{
    return 8 + (layout.timed ? 8u : 0u) + (layout.weighted ? 4u : 0u) + (layout.typed ? 2u : 0u) +
           (layout.split ? 1u : 0u);
}

/* Both return the end of the record; fields that the layout leaves out are zero after reading. */
static inline uint8_t *edge_pack(struct edge_layout layout, const struct edge *edge, uint8_t *to)
{
    memcpy(to, &edge->src, 4);
    memcpy(to + 4, &edge->dst, 4);
    to += 8;
    if (layout.timed) to = (uint8_t *)memcpy(to, &edge->time, 8) + 8;
    if (layout.weighted) to = (uint8_t *)memcpy(to, &edge->weight, 4) + 4;
    if (layout.typed) to = (uint8_t *)memcpy(to, &edge->type, 2) + 2;
    if (layout.split) *to++ = edge->split;
    return to;
}

static inline const uint8_t *edge_unpack(struct edge_layout layout, const uint8_t *from,
                                         struct edge *edge)
{
    *edge = (struct edge){.src = 0};
    memcpy(&edge->src, from, 4);
    memcpy(&edge->dst, from + 4, 4);
    from += 8;
    if (layout.timed) {
        memcpy(&edge->time, from, 8);
        from += 8;
    }
    if (layout.weighted) {
        memcpy(&edge->weight, from, 4);
        from += 4;
    }
    if (layout.typed) {
        memcpy(&edge->type, from, 2);
        from += 2;
    }
    if (layout.split) edge->split = *from++;
    return from;
}

struct edge_file;

/* owner    returns owned; edge_file_close, which leaves the file */
enum status edge_file_create(struct edge_file **file, const char *path, struct edge_layout layout,
                             struct error *error) MUST_CHECK;
void edge_file_close(struct edge_file *file);

enum status edge_file_append(struct edge_file *file, const struct edge *edge,
                             struct error *error) MUST_CHECK;
uint64_t edge_file_count(const struct edge_file *file);

/* Goes back to the first edge, for reading; no appending after it. */
enum status edge_file_rewind(struct edge_file *file, struct error *error) MUST_CHECK;
/* `more` is false at the end. */
enum status edge_file_next(struct edge_file *file, struct edge *edge, bool *more,
                           struct error *error) MUST_CHECK;

/* All of `bytes` at `offset`, whatever read(2) and write(2) return at once. */
enum status edge_file_write_at(int fd, const char *path, const void *data, size_t bytes,
                               uint64_t offset, struct error *error) MUST_CHECK;
enum status edge_file_read_at(int fd, const char *path, void *data, size_t bytes, uint64_t offset,
                              struct error *error) MUST_CHECK;

#endif
