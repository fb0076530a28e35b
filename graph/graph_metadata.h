/* metadata.yaml of a graph folder: what there is, how large, with which checksum. The arrays
 * themselves are the business of graph_store (reading) and graph_builder (writing). */
#ifndef ANTHILL_GRAPH_GRAPH_METADATA_H
#define ANTHILL_GRAPH_GRAPH_METADATA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/npy.h"
#include "graph/graph_store.h"

#define GRAPH_METADATA_VERSION 1

enum graph_ids { GRAPH_IDS_NUMBER, GRAPH_IDS_NAME };

struct graph_metadata_file {
    char *name; /* "indptr.npy" */
    char *type; /* npy_type_name; "text" for names.txt */
    uint64_t bytes;
    char *xxh3; /* 16 hexadecimal digits */
};

struct graph_metadata_partition {
    uint64_t start, end; /* global ids [start, end) */
    uint64_t edge_count, halo_count;
    uint64_t value_count; /* sparse feature values */
    struct graph_metadata_file *files;
    uint32_t files_count;
};

struct graph_metadata_type {
    char *name;
    bool inverse;
    uint64_t edge_count;
};

struct graph_metadata_source {
    char *path;
    uint64_t bytes, mtime_ns;
};

struct graph_metadata {
    char *format; /* "anthill-graph" */
    uint32_t version;
    char *arguments; /* of the command that made it */
    struct graph_metadata_source *sources;
    uint32_t sources_count;
    uint64_t node_count, edge_count;
    enum graph_ids ids;
    bool typed, weighted, timed, edge_split;
    struct graph_metadata_type *edge_types; /* at least one, untyped graphs have "edge" */
    uint32_t edge_types_count;
    enum graph_features features;
    uint32_t feature_dim;
    bool labels;
    uint32_t class_count;
    char **class_names; /* NULL, or class_count names */
    uint32_t class_names_count;
    uint32_t split_count;
    struct graph_metadata_partition *partitions;
    uint32_t partitions_count;
};

/* Reads `folder`/metadata.yaml and checks that it does not contradict itself (ranges follow each
 * other, counts add up). `checksum` (may be NULL) is that of the file.
 *   errors   STATUS_NOT_FOUND when it is not there; STATUS_CORRUPT with the path and the reason
 *   owner    returns owned; graph_metadata_destroy */
enum status graph_metadata_load(struct graph_metadata **metadata, const char *folder,
                                uint64_t *checksum, struct error *error) MUST_CHECK;
void graph_metadata_destroy(struct graph_metadata *metadata);

enum status graph_metadata_save(const struct graph_metadata *metadata, const char *folder,
                                struct error *error) MUST_CHECK;

/* Deep copies of strings for the arrays above: memory that is used up ends the process. */
char *graph_metadata_string(const char *string);

/* The entry called `name`, or NULL. */
const struct graph_metadata_file *
graph_metadata_file(const struct graph_metadata_partition *partition, const char *name);

#endif
