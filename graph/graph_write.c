/* The second half of graph_builder: numbers the nodes by partition and writes the arrays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/check.h"
#include "common/checksum.h"
#include "common/rng.h"
#include "graph/graph_arrays.h"
#include "graph/graph_builder_private.h"

struct writing {
    struct graph_builder *builder;
    uint32_t node_count;
    uint32_t *nodes;  /* [node_count] node number of each global id */
    uint32_t *global; /* [node_count] global id of each node number */
    struct file_map features;
};

static uint32_t hash_partition(const struct graph_builder *builder, uint32_t node)
{
    uint64_t hash;
    if (node_index_has_names(builder->nodes)) {
        size_t bytes;
        const char *name = node_index_name(builder->nodes, node, &bytes);
        hash = checksum_bytes(name, bytes);
    } else {
        hash = rng_mix(node_index_number(builder->nodes, node) + UINT64_C(0x9e3779b97f4a7c15));
    }
    return (uint32_t)(((unsigned __int128)hash * builder->options.partitions) >> 64);
}

struct numbered {
    uint64_t id;
    uint32_t node;
};

static int numbered_compare(const void *a, const void *b)
{
    const struct numbered *left = a, *right = b;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* Node numbers in ascending order of external number; names stay in order of appearance. */
static void nodes_order(const struct node_index *index, uint32_t count, uint32_t *order)
{
    bool ascending = true;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
        if (i > 0 && ascending && !node_index_has_names(index))
            ascending = node_index_number(index, i - 1) < node_index_number(index, i);
    }
    if (ascending) return;
    struct numbered *sorted = malloc(count * sizeof *sorted);
    CHECK(sorted != NULL);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = (struct numbered){.id = node_index_number(index, i), .node = i};
    qsort(sorted, count, sizeof *sorted, numbered_compare);
    for (uint32_t i = 0; i < count; i++)
        order[i] = sorted[i].node;
    free(sorted);
}

/* Gives every node its partition and global id; within a partition the order of nodes_order. */
static void nodes_number(struct writing *writing)
{
    struct graph_builder *builder = writing->builder;
    const uint32_t partitions = builder->options.partitions;
    const uint64_t count = writing->node_count;
    uint32_t *order = malloc((count + 1) * sizeof *order);
    uint32_t *owner = malloc((count + 1) * sizeof *owner);
    uint64_t *next = calloc((size_t)partitions + 1, sizeof *next);
    CHECK(order != NULL && owner != NULL && next != NULL);
    nodes_order(builder->nodes, writing->node_count, order);
    for (uint64_t i = 0; i < count; i++) {
        owner[i] = builder->options.by_range ? (uint32_t)(i * partitions / count)
                                             : hash_partition(builder, order[i]);
        next[owner[i] + 1]++;
    }
    for (uint32_t p = 0; p < partitions; p++) {
        next[p + 1] += next[p];
        builder->metadata->partitions[p].start = next[p];
        builder->metadata->partitions[p].end = next[p + 1];
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = next[owner[i]]++;
        writing->nodes[id] = order[i];
        writing->global[order[i]] = (uint32_t)id;
    }
    free(order);
    free(owner);
    free(next);
}

static enum status array_open(const struct writing *writing, uint32_t p, enum graph_array array,
                              struct npy_writer **writer, struct error *error)
{
    struct graph_array_shape shape;
    char path[FILE_PATH_BYTES];
    *writer = NULL;
    if (!graph_array_shape(writing->builder->metadata, p, array, &shape)) return STATUS_OK;
    enum status status =
        file_path(path, error, "%s/part-%u/%s", writing->builder->partial, p, shape.name);
    if (status != STATUS_OK) return status;
    return npy_writer_open(writer, path, shape.type, shape.dims, shape.shape, error);
}

static enum status array_close(struct npy_writer *writer, enum status status, struct error *error)
{
    if (writer == NULL) return status;
    if (status == STATUS_OK) return npy_writer_close(writer, error);
    npy_writer_abandon(writer);
    return status;
}

/* node_ids, label and split: one row of a few bytes a node. */
static enum status column_write(const struct writing *writing, uint32_t p, enum graph_array array,
                                struct error *error)
{
    const struct graph_builder *builder = writing->builder;
    const struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
    struct npy_writer *writer;
    enum status status = array_open(writing, p, array, &writer, error);
    if (writer == NULL) return status;
    const int32_t no_label = -1;
    uint8_t *no_split = malloc(builder->split_count + 1);
    CHECK(no_split != NULL);
    memset(no_split, GRAPH_SPLIT_NONE, builder->split_count + 1);
    for (uint64_t id = partition->start; id < partition->end && status == STATUS_OK; id++) {
        const uint32_t node = writing->nodes[id];
        if (array == ARRAY_NODE_IDS) {
            uint64_t external = node_index_has_names(builder->nodes)
                                    ? node
                                    : node_index_number(builder->nodes, node);
            status = npy_writer_append(writer, &external, 1, error);
        } else if (array == ARRAY_LABEL) {
            status = npy_writer_append(writer, node_column_get(&builder->labels, node, &no_label),
                                       1, error);
        } else {
            status = npy_writer_append(writer, node_column_get(&builder->splits, node, no_split),
                                       builder->split_count, error);
        }
    }
    free(no_split);
    return array_close(writer, status, error);
}

static enum status names_write(const struct writing *writing, uint32_t p, struct error *error)
{
    const struct graph_builder *builder = writing->builder;
    const struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
    char path[FILE_PATH_BYTES];
    struct npy_writer *writer;
    enum status status = array_open(writing, p, ARRAY_NAME_OFFSETS, &writer, error);
    if (writer == NULL) return status;
    FILE *file = NULL;
    status = file_path(path, error, "%s/part-%u/" GRAPH_NAMES_FILE, builder->partial, p);
    if (status != STATUS_OK) goto out;
    file = fopen(path, "we");
    if (file == NULL) {
        status = error_set(error, STATUS_IO, "%s: cannot create", path);
        goto out;
    }
    uint64_t offset = 0;
    status = npy_writer_append(writer, &offset, 1, error);
    for (uint64_t id = partition->start; id < partition->end && status == STATUS_OK; id++) {
        size_t bytes;
        const char *name = node_index_name(builder->nodes, writing->nodes[id], &bytes);
        fwrite(name, 1, bytes, file);
        putc('\n', file);
        offset += bytes + 1;
        status = npy_writer_append(writer, &offset, 1, error);
    }
    if (status == STATUS_OK && (fflush(file) != 0 || ferror(file)))
        status = error_set(error, STATUS_IO, "%s: cannot write", path);
out:
    if (file != NULL) fclose(file);
    return array_close(writer, status, error);
}

static const struct feature_place *feature_place(const struct writing *writing, uint64_t id)
{
    static const struct feature_place none = {.count = UINT32_MAX};
    return node_column_get(&writing->builder->features, writing->nodes[id], &none);
}

static enum status dense_write(const struct writing *writing, uint32_t p, struct error *error)
{
    const struct graph_builder *builder = writing->builder;
    const struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
    struct npy_writer *writer;
    enum status status = array_open(writing, p, ARRAY_NODE_FEAT, &writer, error);
    if (writer == NULL) return status;
    float *zeros = calloc((size_t)builder->feature_dim + 1, sizeof *zeros);
    CHECK(zeros != NULL);
    for (uint64_t id = partition->start; id < partition->end && status == STATUS_OK; id++) {
        const struct feature_place *place = feature_place(writing, id);
        const void *row = place->count == UINT32_MAX ? (const void *)zeros
                                                     : writing->features.data + place->offset;
        status = npy_writer_append(writer, row, builder->feature_dim, error);
    }
    free(zeros);
    return array_close(writer, status, error);
}

static enum status sparse_row_write(const struct writing *writing,
                                    const struct feature_place *place, struct npy_writer *columns,
                                    struct npy_writer *values, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < place->count && status == STATUS_OK; i++) {
        struct feature_pair pair;
        memcpy(&pair, writing->features.data + place->offset + i * sizeof pair, sizeof pair);
        status = npy_writer_append(columns, &pair.column, 1, error);
        if (status == STATUS_OK) status = npy_writer_append(values, &pair.value, 1, error);
    }
    return status;
}

static enum status sparse_write(const struct writing *writing, uint32_t p, struct error *error)
{
    struct graph_metadata_partition *partition = &writing->builder->metadata->partitions[p];
    struct npy_writer *indptr = NULL, *columns = NULL, *values = NULL;
    enum status status = array_open(writing, p, ARRAY_FEAT_INDPTR, &indptr, error);
    if (indptr == NULL) return status;
    status = array_open(writing, p, ARRAY_FEAT_COLUMNS, &columns, error);
    if (status == STATUS_OK) status = array_open(writing, p, ARRAY_FEAT_VALUES, &values, error);
    uint64_t total = 0;
    if (status == STATUS_OK) status = npy_writer_append(indptr, &total, 1, error);
    for (uint64_t id = partition->start; id < partition->end && status == STATUS_OK; id++) {
        const struct feature_place *place = feature_place(writing, id);
        if (place->count != UINT32_MAX) {
            status = sparse_row_write(writing, place, columns, values, error);
            total += place->count;
        }
        if (status == STATUS_OK) status = npy_writer_append(indptr, &total, 1, error);
    }
    partition->value_count = total;
    status = array_close(indptr, status, error);
    status = array_close(columns, status, error);
    return array_close(values, status, error);
}

static enum status nodes_write(const struct writing *writing, uint32_t p, struct error *error)
{
    char folder[FILE_PATH_BYTES];
    enum status status = file_path(folder, error, "%s/part-%u", writing->builder->partial, p);
    if (status == STATUS_OK) status = file_dir_create(folder, error);
    if (status == STATUS_OK) status = column_write(writing, p, ARRAY_NODE_IDS, error);
    if (status == STATUS_OK) status = column_write(writing, p, ARRAY_LABEL, error);
    if (status == STATUS_OK) status = column_write(writing, p, ARRAY_SPLIT, error);
    if (status == STATUS_OK) status = names_write(writing, p, error);
    if (status == STATUS_OK) status = dense_write(writing, p, error);
    if (status == STATUS_OK) status = sparse_write(writing, p, error);
    return status;
}

static void types_describe(struct graph_builder *builder)
{
    struct graph_metadata *metadata = builder->metadata;
    const bool inverse = builder->options.reverse == REVERSE_INVERSE;
    /* Edges without types are all of one, "edge". */
    if (node_index_count(builder->types) == 0) node_index_add_name(builder->types, "edge", 4);
    const uint32_t count = node_index_count(builder->types);
    metadata->edge_types_count = inverse ? 2 * count : count;
    metadata->edge_types = calloc(metadata->edge_types_count, sizeof *metadata->edge_types);
    CHECK(metadata->edge_types != NULL);
    for (uint32_t t = 0; t < count; t++) {
        size_t bytes;
        const char *name = node_index_name(builder->types, t, &bytes);
        char text[FILE_PATH_BYTES];
        snprintf(text, sizeof text, "%.*s", (int)bytes, name);
        metadata->edge_types[t].name = graph_metadata_string(text);
        const uint8_t unmarked = 0;
        const uint8_t *marked = node_column_get(&builder->inverse, t, &unmarked);
        metadata->edge_types[t].inverse = *marked != 0;
        if (!inverse) continue;
        snprintf(text, sizeof text, "%.*s-inverse", (int)bytes, name);
        metadata->edge_types[count + t].name = graph_metadata_string(text);
        metadata->edge_types[count + t].inverse = true;
    }
    metadata->typed = builder->layout.typed || inverse;
}

static void classes_describe(struct graph_builder *builder)
{
    struct graph_metadata *metadata = builder->metadata;
    const uint32_t named = node_index_count(builder->classes);
    metadata->labels = builder->labelled;
    metadata->class_count = (uint32_t)(builder->label_max + 1);
    if (named == 0) return;
    if (named > metadata->class_count) metadata->class_count = named;
    metadata->class_names = calloc(metadata->class_count, sizeof *metadata->class_names);
    CHECK(metadata->class_names != NULL);
    metadata->class_names_count = metadata->class_count;
    for (uint32_t c = 0; c < metadata->class_count; c++) {
        char text[FILE_PATH_BYTES];
        size_t bytes = 0;
        const char *name = c < named ? node_index_name(builder->classes, c, &bytes) : "";
        snprintf(text, sizeof text, "%.*s", (int)bytes, name);
        metadata->class_names[c] = graph_metadata_string(text);
    }
}

static void describe(struct graph_builder *builder)
{
    struct graph_metadata *metadata = builder->metadata;
    metadata->format = graph_metadata_string("anthill-graph");
    metadata->version = GRAPH_METADATA_VERSION;
    metadata->arguments = graph_metadata_string(builder->options.arguments);
    metadata->node_count = node_index_count(builder->nodes);
    metadata->ids = node_index_has_names(builder->nodes) ? GRAPH_IDS_NAME : GRAPH_IDS_NUMBER;
    metadata->weighted = builder->layout.weighted;
    metadata->timed = builder->layout.timed;
    metadata->edge_split = builder->layout.split;
    metadata->features = builder->feature_dim > 0 ? builder->feature_kind : GRAPH_FEATURES_NONE;
    metadata->feature_dim = metadata->features == GRAPH_FEATURES_NONE ? 0 : builder->feature_dim;
    metadata->split_count = builder->split_count;
    types_describe(builder);
    classes_describe(builder);
    metadata->partitions_count = builder->options.partitions;
    metadata->partitions = calloc(metadata->partitions_count, sizeof *metadata->partitions);
    CHECK(metadata->partitions != NULL);
}

static enum status file_describe(struct graph_builder *builder, uint32_t p, const char *name,
                                 const char *type, struct error *error)
{
    struct graph_metadata_partition *partition = &builder->metadata->partitions[p];
    char path[FILE_PATH_BYTES], digits[17];
    struct stat stat_of;
    uint64_t checksum = 0;
    enum status status = file_path(path, error, "%s/part-%u/%s", builder->partial, p, name);
    if (status != STATUS_OK) return status;
    status = checksum_file(path, &checksum, error);
    if (status != STATUS_OK) return status;
    if (stat(path, &stat_of) != 0) return error_set(error, STATUS_IO, "%s: cannot stat", path);
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)checksum);
    partition->files =
        realloc(partition->files, (partition->files_count + 1) * sizeof *partition->files);
    CHECK(partition->files != NULL);
    partition->files[partition->files_count++] =
        (struct graph_metadata_file){.name = graph_metadata_string(name),
                                     .type = graph_metadata_string(type),
                                     .bytes = (uint64_t)stat_of.st_size,
                                     .xxh3 = graph_metadata_string(digits)};
    return STATUS_OK;
}

static enum status files_describe(struct graph_builder *builder, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t p = 0; p < builder->metadata->partitions_count && status == STATUS_OK; p++) {
        for (int array = 0; array < ARRAY_COUNT && status == STATUS_OK; array++) {
            struct graph_array_shape shape;
            if (!graph_array_shape(builder->metadata, p, (enum graph_array)array, &shape)) continue;
            status = file_describe(builder, p, shape.name, npy_type_name(shape.type), error);
        }
        if (status == STATUS_OK && builder->metadata->ids == GRAPH_IDS_NAME)
            status = file_describe(builder, p, GRAPH_NAMES_FILE, "text", error);
    }
    return status;
}

static enum status edges_write(struct writing *writing, struct csr_counts *dropped,
                               struct error *error)
{
    struct graph_builder *builder = writing->builder;
    struct graph_metadata *metadata = builder->metadata;
    struct csr_options options = {.layout = builder->layout,
                                  .reverse = builder->options.reverse,
                                  .type_count = metadata->edge_types_count,
                                  .dedupe = builder->options.dedupe,
                                  .drop_self_loops = builder->options.drop_self_loops,
                                  .memory_bytes = builder->options.memory_bytes};
    if (options.reverse == REVERSE_INVERSE) options.type_count /= 2;
    options.layout.typed = metadata->typed;
    uint64_t *type_counts = calloc(metadata->edge_types_count, sizeof *type_counts);
    CHECK(type_counts != NULL);
    enum status status = csr_build(builder->edges, writing->global, &options, builder->partial,
                                   builder->temporary, metadata, type_counts, dropped, error);
    for (uint32_t t = 0; t < metadata->edge_types_count; t++)
        metadata->edge_types[t].edge_count = type_counts[t];
    free(type_counts);
    return status;
}

enum status graph_write(struct graph_builder *builder, struct csr_counts *dropped,
                        struct error *error)
{
    struct writing writing = {.builder = builder, .node_count = node_index_count(builder->nodes)};
    describe(builder);
    writing.nodes = malloc(((size_t)writing.node_count + 1) * sizeof *writing.nodes);
    writing.global = malloc(((size_t)writing.node_count + 1) * sizeof *writing.global);
    CHECK(writing.nodes != NULL && writing.global != NULL);
    nodes_number(&writing);
    enum status status = graph_builder_features_flush(builder, error);
    if (status == STATUS_OK && builder->features_fd >= 0)
        status = file_map_open(&writing.features, builder->features_path, error);
    for (uint32_t p = 0; p < builder->options.partitions && status == STATUS_OK; p++)
        status = nodes_write(&writing, p, error);
    if (writing.features.data != NULL) file_map_close(&writing.features);
    free(writing.nodes);
    if (status == STATUS_OK) status = edges_write(&writing, dropped, error);
    free(writing.global);
    if (status == STATUS_OK) status = files_describe(builder, error);
    return status;
}
