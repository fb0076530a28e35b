#include "graph/graph_builder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "graph/graph_builder_private.h"

#define FEATURES_BUFFER_BYTES (1u << 20)

static void *column_at(struct node_column *column, uint64_t node)
{
    if (node >= column->capacity) {
        uint64_t capacity = column->capacity < 1024 ? 1024 : column->capacity;
        while (capacity <= node)
            capacity *= 2;
        column->data = realloc(column->data, capacity * column->item_bytes);
        CHECK(column->data != NULL);
        column->capacity = capacity;
    }
    if (node >= column->count) {
        memset(column->data + column->count * column->item_bytes, column->fill,
               (node + 1 - column->count) * column->item_bytes);
        column->count = node + 1;
    }
    return column->data + node * column->item_bytes;
}

const void *node_column_get(const struct node_column *column, uint64_t node, const void *fallback)
{
    return node < column->count ? column->data + node * column->item_bytes : fallback;
}

/* Publishing replaces what stands there: that may be a graph or an empty folder, nothing else. */
static enum status replaceable(const char *out, struct error *error)
{
    char path[FILE_PATH_BYTES];
    enum status status = file_path(path, error, "%s/metadata.yaml", out);
    if (status != STATUS_OK || file_exists(path)) return status;
    DIR *folder = opendir(out);
    if (folder == NULL && errno == ENOENT) return STATUS_OK;
    if (folder == NULL) return error_set_errno(error, STATUS_IO, errno, "%s", out);
    bool empty = true;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) empty = false;
    closedir(folder);
    if (empty) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "%s exists and is no graph (it has no metadata.yaml): it is left as it is",
                     out);
}

static enum status folders_create(struct graph_builder *builder, struct error *error)
{
    const char *out = builder->options.out;
    size_t bytes = strlen(out);
    while (bytes > 1 && out[bytes - 1] == '/')
        bytes--;
    enum status status = file_path(builder->out, error, "%.*s", (int)bytes, out);
    if (status != STATUS_OK) return status;
    status = replaceable(builder->out, error);
    if (status != STATUS_OK) return status;
    status = file_path(builder->partial, error, "%s.partial", builder->out);
    if (status != STATUS_OK) return status;
    status = file_path(builder->temporary, error, "%s/temporary", builder->partial);
    if (status != STATUS_OK) return status;
    status = file_path(builder->features_path, error, "%s/features.bin", builder->temporary);
    if (status != STATUS_OK) return status;
    status = file_dir_remove(builder->partial, error);
    if (status != STATUS_OK) return status;
    return file_dir_create(builder->temporary, error);
}

enum status graph_builder_create(struct graph_builder **out, const struct graph_options *options,
                                 bool names, struct edge_layout layout, struct error *error)
{
    *out = NULL;
    CHECK(options->partitions > 0);
    struct graph_builder *builder = calloc(1, sizeof *builder);
    CHECK(builder != NULL);
    builder->options = *options;
    builder->layout = layout;
    builder->features_fd = -1;
    builder->label_max = -1;
    builder->labels = (struct node_column){.item_bytes = sizeof(int32_t), .fill = 0xff};
    builder->features =
        (struct node_column){.item_bytes = sizeof(struct feature_place), .fill = 0xff};
    builder->inverse = (struct node_column){.item_bytes = 1};
    builder->nodes = node_index_create(names);
    builder->types = node_index_create(true);
    builder->classes = node_index_create(true);
    builder->metadata = calloc(1, sizeof *builder->metadata);
    CHECK(builder->metadata != NULL);
    enum status status = folders_create(builder, error);
    if (status != STATUS_OK) goto out;
    char path[FILE_PATH_BYTES];
    status = file_path(path, error, "%s/edges.bin", builder->temporary);
    if (status != STATUS_OK) goto out;
    status = edge_file_create(&builder->edges, path, layout, error);
out:
    if (status != STATUS_OK) {
        graph_builder_destroy(builder);
        return status;
    }
    *out = builder;
    return STATUS_OK;
}

void graph_builder_destroy(struct graph_builder *builder)
{
    if (builder == NULL) return;
    edge_file_close(builder->edges);
    if (builder->features_fd >= 0) close(builder->features_fd);
    /* After publishing there is nothing left to remove. What cannot be removed stays under a name
     * that says that it is not whole. */
    struct error ignored;
    if (builder->partial[0] != '\0' && file_dir_remove(builder->partial, &ignored) != STATUS_OK)
        builder->partial[0] = '\0';
    node_index_destroy(builder->nodes);
    node_index_destroy(builder->types);
    node_index_destroy(builder->classes);
    free(builder->inverse.data);
    free(builder->labels.data);
    free(builder->splits.data);
    free(builder->features.data);
    free(builder->features_buffer);
    graph_metadata_destroy(builder->metadata);
    free(builder);
}

struct node_index *graph_builder_nodes(struct graph_builder *builder)
{
    return builder->nodes;
}

enum status graph_builder_source(struct graph_builder *builder, const char *path,
                                 struct error *error)
{
    struct stat stat_of;
    if (strcmp(path, "-") == 0) return STATUS_OK;
    if (stat(path, &stat_of) != 0) {
        enum status status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
        return error_set_errno(error, status, errno, "%s", path);
    }
    struct graph_metadata *metadata = builder->metadata;
    metadata->sources =
        realloc(metadata->sources, (metadata->sources_count + 1) * sizeof *metadata->sources);
    CHECK(metadata->sources != NULL);
    metadata->sources[metadata->sources_count++] =
        (struct graph_metadata_source){.path = graph_metadata_string(path),
                                       .bytes = (uint64_t)stat_of.st_size,
                                       .mtime_ns = (uint64_t)stat_of.st_mtim.tv_sec * 1000000000u +
                                                   (uint64_t)stat_of.st_mtim.tv_nsec};
    return STATUS_OK;
}

enum status graph_builder_edge_type(struct graph_builder *builder, const char *name, size_t bytes,
                                    uint16_t *type, struct error *error)
{
    const uint32_t limit =
        builder->options.reverse == REVERSE_INVERSE ? EDGE_TYPES_MAX / 2 : EDGE_TYPES_MAX;
    uint32_t number = node_index_find_name(builder->types, name, bytes);
    if (number == NODE_NONE) {
        if (node_index_count(builder->types) >= limit) {
            return error_set(error, STATUS_INVALID,
                             "edge type \"%.*s\" is one too many: at most %u are possible%s",
                             (int)(bytes > 100 ? 100 : bytes), name, limit,
                             limit < EDGE_TYPES_MAX ? " with inverse ones" : "");
        }
        number = node_index_add_name(builder->types, name, bytes);
    }
    *type = (uint16_t)number;
    return STATUS_OK;
}

void graph_builder_mark_inverse(struct graph_builder *builder, uint16_t type)
{
    CHECK(type < node_index_count(builder->types));
    *(uint8_t *)column_at(&builder->inverse, type) = 1;
}

enum status graph_builder_edge(struct graph_builder *builder, const struct edge *edge,
                               struct error *error)
{
    CHECK(edge->src < node_index_count(builder->nodes) &&
          edge->dst < node_index_count(builder->nodes));
    return edge_file_append(builder->edges, edge, error);
}

uint64_t graph_builder_edge_count(const struct graph_builder *builder)
{
    return edge_file_count(builder->edges);
}

enum status graph_builder_features_flush(struct graph_builder *builder, struct error *error)
{
    if (builder->features_used == 0) return STATUS_OK;
    enum status status = edge_file_write_at(
        builder->features_fd, builder->features_path, builder->features_buffer,
        builder->features_used, builder->features_bytes - builder->features_used, error);
    builder->features_used = 0;
    return status;
}

static enum status features_append(struct graph_builder *builder, const void *data, size_t bytes,
                                   struct error *error)
{
    if (builder->features_fd < 0) {
        builder->features_fd =
            open(builder->features_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (builder->features_fd < 0) {
            return error_set_errno(error, STATUS_IO, errno, "%s: cannot create",
                                   builder->features_path);
        }
        builder->features_buffer = malloc(FEATURES_BUFFER_BYTES);
        CHECK(builder->features_buffer != NULL);
    }
    const uint8_t *from = data;
    while (bytes > 0) {
        size_t room = FEATURES_BUFFER_BYTES - builder->features_used;
        size_t piece = bytes < room ? bytes : room;
        memcpy(builder->features_buffer + builder->features_used, from, piece);
        builder->features_used += piece;
        builder->features_bytes += piece;
        from += piece;
        bytes -= piece;
        if (builder->features_used < FEATURES_BUFFER_BYTES) continue;
        enum status status = graph_builder_features_flush(builder, error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static enum status row_begin(struct graph_builder *builder, uint32_t node, enum graph_features kind,
                             uint32_t count, struct error *error)
{
    CHECK(node < node_index_count(builder->nodes));
    CHECK(builder->feature_kind == GRAPH_FEATURES_NONE || builder->feature_kind == kind);
    builder->feature_kind = kind;
    struct feature_place *place = column_at(&builder->features, node);
    if (place->count != UINT32_MAX)
        return error_set(error, STATUS_INVALID, "the node has two rows of features");
    *place = (struct feature_place){.offset = builder->features_bytes, .count = count};
    return STATUS_OK;
}

static float row_scale(const struct graph_builder *builder, const float *values, uint32_t count)
{
    if (!builder->options.normalize_l2) return 1.0f;
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    return sum > 0.0 ? (float)(1.0 / sqrt(sum)) : 1.0f;
}

enum status graph_builder_dense_row(struct graph_builder *builder, uint32_t node,
                                    const float *values, uint32_t dim, struct error *error)
{
    CHECK(dim > 0 && (builder->feature_dim == 0 || builder->feature_dim == dim));
    builder->feature_dim = dim;
    enum status status = row_begin(builder, node, GRAPH_FEATURES_DENSE, dim, error);
    const float scale = row_scale(builder, values, dim);
    if (status == STATUS_OK && scale == 1.0f)
        return features_append(builder, values, dim * sizeof *values, error);
    for (uint32_t i = 0; i < dim && status == STATUS_OK; i++) {
        float scaled = values[i] * scale;
        status = features_append(builder, &scaled, sizeof scaled, error);
    }
    return status;
}

enum status graph_builder_sparse_row(struct graph_builder *builder, uint32_t node,
                                     const uint32_t *columns, const float *values, uint32_t count,
                                     struct error *error)
{
    enum status status = row_begin(builder, node, GRAPH_FEATURES_SPARSE, count, error);
    const float scale = row_scale(builder, values, count);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        struct feature_pair pair = {.column = columns[i], .value = values[i] * scale};
        CHECK(columns[i] < UINT32_MAX && (i == 0 || columns[i] > columns[i - 1]));
        if (columns[i] >= builder->feature_dim) builder->feature_dim = columns[i] + 1;
        status = features_append(builder, &pair, sizeof pair, error);
    }
    return status;
}

void graph_builder_feature_dim(struct graph_builder *builder, uint32_t dim)
{
    if (dim > builder->feature_dim) builder->feature_dim = dim;
}

void graph_builder_label(struct graph_builder *builder, uint32_t node, int32_t label)
{
    CHECK(node < node_index_count(builder->nodes) && label >= -1);
    builder->labelled = true;
    if (label > builder->label_max) builder->label_max = label;
    *(int32_t *)column_at(&builder->labels, node) = label;
}

int32_t graph_builder_class(struct graph_builder *builder, const char *name, size_t bytes)
{
    return (int32_t)node_index_add_name(builder->classes, name, bytes);
}

void graph_builder_split_count(struct graph_builder *builder, uint32_t count)
{
    CHECK(builder->split_count == 0 && count > 0);
    builder->split_count = count;
    builder->splits = (struct node_column){.item_bytes = count, .fill = GRAPH_SPLIT_NONE};
}

void graph_builder_split(struct graph_builder *builder, uint32_t node, uint32_t column,
                         enum graph_split code)
{
    CHECK(column < builder->split_count && node < node_index_count(builder->nodes));
    ((uint8_t *)column_at(&builder->splits, node))[column] = (uint8_t)code;
}

enum status graph_builder_finish(struct graph_builder *builder, struct graph_summary *summary,
                                 struct error *error)
{
    *summary = (struct graph_summary){.node_count = 0};
    enum status status = graph_write(builder, &summary->dropped, error);
    if (status != STATUS_OK) return status;
    const struct graph_metadata *metadata = builder->metadata;
    status = graph_metadata_save(metadata, builder->partial, error);
    if (status != STATUS_OK) return status;
    status = file_dir_remove(builder->temporary, error);
    if (status != STATUS_OK) return status;
    status = file_dir_publish(builder->partial, builder->out, error);
    summary->node_count = metadata->node_count;
    summary->edge_count = metadata->edge_count;
    summary->edge_type_count = metadata->edge_types_count;
    summary->class_count = metadata->class_count;
    summary->feature_dim = metadata->feature_dim;
    return status;
}
