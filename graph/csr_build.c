#include "graph/csr_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/file.h"
#include "common/program.h"
#include "graph/graph_arrays.h"

#define INSERTION_MAX    24 /* in-edges up to here are sorted by insertion */
#define BUCKET_BYTES_MIN (1u << 16)
#define STOP_CHECK_EDGES (1u << 16)

/* An edge within its dst's list. */
struct item {
    uint64_t key; /* src << 32 | type << 16 | split: ascending in (src, type) */
    int64_t time;
    float weight;
};

/* Edges whose dst is in [start, end), and where the temporary file has them. */
struct bucket {
    uint64_t start, end;
    uint64_t first_edge, edge_count;
    uint8_t *buffer;
    size_t used;
    uint64_t written; /* edges in the file */
};

struct builder {
    struct edge_file *edges;
    const uint32_t *global;
    const struct csr_options *options;
    struct graph_metadata *metadata;
    const char *folder;
    uint64_t *type_edge_counts;
    struct csr_counts *counts;
    uint64_t node_count;
    uint32_t *degrees; /* [node_count], before duplicates are dropped */
    struct bucket *buckets;
    uint32_t bucket_count, bucket_capacity;
    char path[FILE_PATH_BYTES]; /* of the bucket file */
    int fd;
    size_t record_bytes, buffer_bytes;
};

/* The writers of one partition. */
struct sink {
    struct npy_writer *writers[ARRAY_COUNT];
    uint64_t edge_count;
    uint64_t start, end;
    uint64_t *seen;  /* bitmap of src nodes outside, [node_count] bits; NULL: one partition */
    uint32_t *ranks; /* set bits before each word of `seen` */
    uint64_t halo_count;
};

/* The directed edges of one record: one, or two. */
static unsigned edge_expand(const struct builder *builder, struct edge edge, struct edge out[2])
{
    const struct csr_options *options = builder->options;
    if (builder->global != NULL) {
        edge.src = builder->global[edge.src];
        edge.dst = builder->global[edge.dst];
    }
    if (options->drop_self_loops && edge.src == edge.dst) return 0;
    out[0] = edge;
    if (options->reverse == REVERSE_NONE) return 1;
    if (options->reverse == REVERSE_SYMMETRIC && edge.src == edge.dst) return 1;
    out[1] = edge;
    out[1].src = edge.dst;
    out[1].dst = edge.src;
    if (options->reverse == REVERSE_INVERSE)
        out[1].type = (uint16_t)(edge.type + options->type_count);
    return 2;
}

static enum status stop_check(uint64_t done, struct error *error)
{
    if (done % STOP_CHECK_EDGES != 0 || !program_stop_requested()) return STATUS_OK;
    return error_set(error, STATUS_STOPPED, "stopped by a signal");
}

static enum status degrees_count(struct builder *builder, struct error *error)
{
    struct edge edge, copies[2];
    bool more = true;
    uint64_t done = 0;
    enum status status = edge_file_rewind(builder->edges, error);
    while (status == STATUS_OK) {
        status = edge_file_next(builder->edges, &edge, &more, error);
        if (status != STATUS_OK || !more) break;
        unsigned count = edge_expand(builder, edge, copies);
        builder->counts->self_loops += count == 0;
        for (unsigned i = 0; i < count; i++) {
            if (++builder->degrees[copies[i].dst] == UINT32_MAX) {
                return error_set(error, STATUS_INVALID, "node %u has 2^32 in-edges or more",
                                 copies[i].dst);
            }
        }
        status = stop_check(++done, error);
    }
    return status;
}

static void bucket_add(struct builder *builder, uint64_t start, uint64_t first_edge)
{
    if (builder->bucket_count == builder->bucket_capacity) {
        builder->bucket_capacity =
            builder->bucket_capacity == 0 ? 16 : 2 * builder->bucket_capacity;
        builder->buckets =
            realloc(builder->buckets, builder->bucket_capacity * sizeof *builder->buckets);
        CHECK(builder->buckets != NULL);
    }
    builder->buckets[builder->bucket_count++] =
        (struct bucket){.start = start, .end = start, .first_edge = first_edge};
}

/* A bucket has as many nodes as its share of memory allows, at least one, all of one partition. */
static void buckets_plan(struct builder *builder)
{
    const uint64_t edges_max = builder->options->memory_bytes / 2 / sizeof(struct item);
    uint64_t edge = 0;
    for (uint32_t p = 0; p < builder->metadata->partitions_count; p++) {
        const struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
        for (uint64_t node = partition->start; node < partition->end; node++) {
            struct bucket *last = NULL;
            if (node > partition->start) last = &builder->buckets[builder->bucket_count - 1];
            if (last == NULL || last->edge_count + builder->degrees[node] > edges_max) {
                bucket_add(builder, node, edge);
                last = &builder->buckets[builder->bucket_count - 1];
            }
            last->end = node + 1;
            last->edge_count += builder->degrees[node];
            edge += builder->degrees[node];
        }
    }
    if (builder->bucket_count == 0) return;
    builder->buffer_bytes = builder->options->memory_bytes / 2 / builder->bucket_count;
    if (builder->buffer_bytes < BUCKET_BYTES_MIN) builder->buffer_bytes = BUCKET_BYTES_MIN;
    if (builder->buffer_bytes > 16 * BUCKET_BYTES_MIN)
        builder->buffer_bytes = 16 * BUCKET_BYTES_MIN;
}

static struct bucket *bucket_of(const struct builder *builder, uint64_t node)
{
    uint32_t low = 0, high = builder->bucket_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (builder->buckets[middle].start <= node)
            low = middle;
        else
            high = middle;
    }
    return &builder->buckets[low];
}

static enum status bucket_flush(struct builder *builder, struct bucket *bucket, struct error *error)
{
    uint64_t offset = (bucket->first_edge + bucket->written) * builder->record_bytes;
    enum status status =
        edge_file_write_at(builder->fd, builder->path, bucket->buffer, bucket->used, offset, error);
    bucket->written += bucket->used / builder->record_bytes;
    bucket->used = 0;
    return status;
}

static enum status bucket_put(struct builder *builder, const struct edge *edge, struct error *error)
{
    struct bucket *bucket = bucket_of(builder, edge->dst);
    if (bucket->buffer == NULL) {
        bucket->buffer = malloc(builder->buffer_bytes);
        CHECK(bucket->buffer != NULL);
    }
    if (bucket->used + builder->record_bytes > builder->buffer_bytes) {
        enum status status = bucket_flush(builder, bucket, error);
        if (status != STATUS_OK) return status;
    }
    edge_pack(builder->options->layout, edge, bucket->buffer + bucket->used);
    bucket->used += builder->record_bytes;
    return STATUS_OK;
}

/* Writes every directed edge into the part of the temporary file that is its bucket's. */
static enum status buckets_fill(struct builder *builder, struct error *error)
{
    struct edge edge, copies[2];
    bool more = true;
    uint64_t done = 0;
    builder->fd = open(builder->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (builder->fd < 0)
        return error_set_errno(error, STATUS_IO, errno, "%s: cannot create", builder->path);
    enum status status = edge_file_rewind(builder->edges, error);
    while (status == STATUS_OK) {
        status = edge_file_next(builder->edges, &edge, &more, error);
        if (status != STATUS_OK || !more) break;
        unsigned count = edge_expand(builder, edge, copies);
        for (unsigned i = 0; i < count && status == STATUS_OK; i++)
            status = bucket_put(builder, &copies[i], error);
        if (status == STATUS_OK) status = stop_check(++done, error);
    }
    for (uint32_t b = 0; b < builder->bucket_count; b++) {
        struct bucket *bucket = &builder->buckets[b];
        if (status == STATUS_OK && bucket->used > 0) status = bucket_flush(builder, bucket, error);
        free(bucket->buffer);
        bucket->buffer = NULL;
        if (status == STATUS_OK) CHECK(bucket->written == bucket->edge_count);
    }
    return status;
}

/* Calls `visit` for each edge of a bucket. */
static enum status bucket_read(struct builder *builder, const struct bucket *bucket,
                               void (*visit)(void *context, const struct edge *edge), void *context,
                               struct error *error)
{
    const uint64_t piece = (1u << 20) / builder->record_bytes;
    uint8_t *buffer = malloc(piece * builder->record_bytes);
    CHECK(buffer != NULL);
    enum status status = STATUS_OK;
    for (uint64_t done = 0; done < bucket->edge_count && status == STATUS_OK;) {
        uint64_t count = bucket->edge_count - done < piece ? bucket->edge_count - done : piece;
        status =
            edge_file_read_at(builder->fd, builder->path, buffer, count * builder->record_bytes,
                              (bucket->first_edge + done) * builder->record_bytes, error);
        const uint8_t *at = buffer;
        struct edge edge;
        for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
            at = edge_unpack(builder->options->layout, at, &edge);
            visit(context, &edge);
        }
        done += count;
        if (status == STATUS_OK) status = stop_check(0, error);
    }
    free(buffer);
    return status;
}

static void sink_see(void *context, const struct edge *edge)
{
    struct sink *sink = context;
    if (edge->src < sink->start || edge->src >= sink->end)
        sink->seen[edge->src / 64] |= UINT64_C(1) << edge->src % 64;
}

/* Number of an inner node or, behind the inner ones, of a halo node. */
static uint32_t sink_local(const struct sink *sink, uint32_t src)
{
    if (src >= sink->start && src < sink->end) return (uint32_t)(src - sink->start);
    uint64_t below = sink->seen[src / 64] & ((UINT64_C(1) << src % 64) - 1);
    return (uint32_t)(sink->end - sink->start) + sink->ranks[src / 64] +
           (uint32_t)__builtin_popcountll(below);
}

struct placing {
    const struct bucket *bucket;
    struct item *items;
    uint64_t *cursors; /* [bucket nodes] */
};

static void item_place(void *context, const struct edge *edge)
{
    struct placing *placing = context;
    struct item *item = &placing->items[placing->cursors[edge->dst - placing->bucket->start]++];
    item->key = (uint64_t)edge->src << 32 | (uint64_t)edge->type << 16 | edge->split;
    item->time = edge->time;
    item->weight = edge->weight;
}

static bool item_before(const struct item *a, const struct item *b)
{
    if (a->time != b->time) return a->time < b->time;
    return a->key >> 16 < b->key >> 16;
}

static uint8_t item_digit(const struct item *item, unsigned digit)
{
    /* Six bytes of (type, src), then eight of time, whose sign bit is turned to sort as unsigned.
     */
    if (digit < 6) return (uint8_t)(item->key >> (16 + 8 * digit));
    return (uint8_t)(((uint64_t)item->time ^ UINT64_C(1) << 63) >> (8 * (digit - 6)));
}

/* Stable, least significant digit first; digits that are the same everywhere are skipped. */
static void items_radix_sort(struct item *items, struct item *spare, uint64_t count)
{
    struct item *from = items, *to = spare;
    for (unsigned digit = 0; digit < 14; digit++) {
        uint64_t starts[257] = {0};
        for (uint64_t i = 0; i < count; i++)
            starts[item_digit(&from[i], digit) + 1]++;
        if (starts[item_digit(&from[0], digit) + 1] == count) continue;
        for (unsigned d = 0; d < 256; d++)
            starts[d + 1] += starts[d];
        for (uint64_t i = 0; i < count; i++)
            to[starts[item_digit(&from[i], digit)]++] = from[i];
        struct item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

static void items_sort(struct item *items, uint64_t count, struct item **spare,
                       uint64_t *spare_count)
{
    if (count > INSERTION_MAX) {
        if (*spare_count < count) {
            free(*spare);
            *spare = malloc(count * sizeof **spare);
            CHECK(*spare != NULL);
            *spare_count = count;
        }
        items_radix_sort(items, *spare, count);
        return;
    }
    for (uint64_t i = 1; i < count; i++) {
        struct item moved = items[i];
        uint64_t to = i;
        for (; to > 0 && item_before(&moved, &items[to - 1]); to--)
            items[to] = items[to - 1];
        items[to] = moved;
    }
}

static enum status sink_append(struct sink *sink, enum graph_array array, const void *item,
                               struct error *error)
{
    if (sink->writers[array] == NULL) return STATUS_OK;
    return npy_writer_append(sink->writers[array], item, 1, error);
}

static enum status item_write(struct builder *builder, struct sink *sink, const struct item *item,
                              struct error *error)
{
    const uint32_t index = sink_local(sink, (uint32_t)(item->key >> 32));
    const uint16_t type = (uint16_t)(item->key >> 16);
    const uint8_t split = (uint8_t)item->key;
    builder->type_edge_counts[type]++;
    sink->edge_count++;
    enum status status = sink_append(sink, ARRAY_INDICES, &index, error);
    if (status == STATUS_OK) status = sink_append(sink, ARRAY_EDGE_TYPE, &type, error);
    if (status == STATUS_OK) status = sink_append(sink, ARRAY_EDGE_WEIGHT, &item->weight, error);
    if (status == STATUS_OK) status = sink_append(sink, ARRAY_EDGE_TIME, &item->time, error);
    if (status == STATUS_OK) status = sink_append(sink, ARRAY_EDGE_SPLIT, &split, error);
    return status;
}

static enum status list_write(struct builder *builder, struct sink *sink, const struct item *items,
                              uint64_t count, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
        bool repeated = builder->options->dedupe && i > 0 && !item_before(&items[i - 1], &items[i]);
        if (repeated)
            builder->counts->duplicates++;
        else
            status = item_write(builder, sink, &items[i], error);
    }
    if (status == STATUS_OK) status = sink_append(sink, ARRAY_INDPTR, &sink->edge_count, error);
    return status;
}

static enum status bucket_build(struct builder *builder, const struct bucket *bucket,
                                struct sink *sink, struct error *error)
{
    const uint64_t nodes = bucket->end - bucket->start;
    struct item *spare = NULL;
    uint64_t spare_count = 0, first = 0;
    struct placing placing = {.bucket = bucket,
                              .items = malloc((bucket->edge_count + 1) * sizeof(struct item)),
                              .cursors = malloc((nodes + 1) * sizeof(uint64_t))};
    CHECK(placing.items != NULL && placing.cursors != NULL);
    for (uint64_t i = 0; i < nodes; i++) {
        placing.cursors[i] = first;
        first += builder->degrees[bucket->start + i];
    }
    enum status status = bucket_read(builder, bucket, item_place, &placing, error);
    first = 0;
    for (uint64_t i = 0; i < nodes && status == STATUS_OK; i++) {
        uint64_t count = builder->degrees[bucket->start + i];
        items_sort(placing.items + first, count, &spare, &spare_count);
        status = list_write(builder, sink, placing.items + first, count, error);
        first += count;
    }
    free(spare);
    free(placing.items);
    free(placing.cursors);
    return status;
}

static enum status halo_write(struct builder *builder, struct sink *sink, struct error *error)
{
    enum status status = STATUS_OK;
    const uint64_t words = sink->seen == NULL ? 0 : builder->node_count / 64 + 1;
    for (uint64_t word = 0; word < words && status == STATUS_OK; word++) {
        sink->ranks[word] = (uint32_t)sink->halo_count;
        for (uint64_t bits = sink->seen[word]; bits != 0; bits &= bits - 1) {
            uint64_t node = word * 64 + (uint64_t)__builtin_ctzll(bits);
            sink->halo_count++;
            status = sink_append(sink, ARRAY_HALO, &node, error);
            if (status != STATUS_OK) break;
        }
    }
    return status;
}

static enum status sink_open(struct builder *builder, uint32_t p, struct sink *sink,
                             struct error *error)
{
    static const enum graph_array arrays[] = {ARRAY_INDPTR,    ARRAY_INDICES,     ARRAY_HALO,
                                              ARRAY_EDGE_TYPE, ARRAY_EDGE_WEIGHT, ARRAY_EDGE_TIME,
                                              ARRAY_EDGE_SPLIT};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        struct graph_array_shape shape;
        char path[FILE_PATH_BYTES];
        if (!graph_array_shape(builder->metadata, p, arrays[i], &shape)) continue;
        enum status status =
            file_path(path, error, "%s/part-%u/%s", builder->folder, p, shape.name);
        if (status != STATUS_OK) return status;
        uint64_t unknown[NPY_DIMS_MAX] = {0, 1, 1, 1};
        status = npy_writer_open(&sink->writers[arrays[i]], path, shape.type, 1, unknown, error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static enum status sink_close(struct sink *sink, enum status status, struct error *error)
{
    for (int array = 0; array < ARRAY_COUNT; array++) {
        if (sink->writers[array] == NULL) continue;
        if (status == STATUS_OK)
            status = npy_writer_close(sink->writers[array], error);
        else
            npy_writer_abandon(sink->writers[array]);
    }
    free(sink->seen);
    free(sink->ranks);
    return status;
}

static enum status partition_build(struct builder *builder, uint32_t p, struct error *error)
{
    struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
    struct sink sink = {.start = partition->start, .end = partition->end};
    const uint64_t zero = 0;
    enum status status = sink_open(builder, p, &sink, error);
    if (status != STATUS_OK) goto out;
    if (builder->metadata->partitions_count > 1) {
        uint64_t words = builder->node_count / 64 + 1;
        sink.seen = calloc(words, sizeof *sink.seen);
        sink.ranks = calloc(words, sizeof *sink.ranks);
        CHECK(sink.seen != NULL && sink.ranks != NULL);
    }
    for (int pass = 0; pass < 2 && status == STATUS_OK; pass++) {
        if (pass == 1) status = halo_write(builder, &sink, error);
        if (pass == 1 && status == STATUS_OK)
            status = sink_append(&sink, ARRAY_INDPTR, &zero, error);
        for (uint32_t b = 0; b < builder->bucket_count && status == STATUS_OK; b++) {
            const struct bucket *bucket = &builder->buckets[b];
            if (bucket->start < partition->start || bucket->start >= partition->end) continue;
            if (pass == 1)
                status = bucket_build(builder, bucket, &sink, error);
            else if (sink.seen != NULL)
                status = bucket_read(builder, bucket, sink_see, &sink, error);
        }
    }
    partition->edge_count = sink.edge_count;
    partition->halo_count = sink.halo_count;
    if (status == STATUS_OK && sink.end - sink.start + sink.halo_count > UINT32_MAX) {
        status = error_set(error, STATUS_INVALID, "partition %u has more than 2^32 nodes", p);
    }
out:
    return sink_close(&sink, status, error);
}

enum status csr_build(struct edge_file *edges, const uint32_t *global,
                      const struct csr_options *options, const char *folder, const char *temporary,
                      struct graph_metadata *metadata, uint64_t *type_edge_counts,
                      struct csr_counts *counts, struct error *error)
{
    struct builder builder = {.edges = edges,
                              .global = global,
                              .options = options,
                              .metadata = metadata,
                              .folder = folder,
                              .type_edge_counts = type_edge_counts,
                              .counts = counts,
                              .node_count = metadata->node_count,
                              .fd = -1,
                              .record_bytes = edge_record_bytes(options->layout)};
    *counts = (struct csr_counts){.self_loops = 0};
    enum status status = file_path(builder.path, error, "%s/buckets.bin", temporary);
    if (status != STATUS_OK) return status;
    builder.degrees = calloc(builder.node_count + 1, sizeof *builder.degrees);
    CHECK(builder.degrees != NULL);
    status = degrees_count(&builder, error);
    if (status != STATUS_OK) goto out;
    buckets_plan(&builder);
    status = buckets_fill(&builder, error);
    metadata->edge_count = 0;
    for (uint32_t p = 0; p < metadata->partitions_count && status == STATUS_OK; p++) {
        status = partition_build(&builder, p, error);
        metadata->edge_count += metadata->partitions[p].edge_count;
    }
out:
    for (uint32_t b = 0; b < builder.bucket_count; b++)
        free(builder.buckets[b].buffer);
    free(builder.buckets);
    free(builder.degrees);
    if (builder.fd >= 0) close(builder.fd);
    return status;
}
