/* Graphs as NumPy arrays: edge_index of shape [2, edges], features, labels and splits by node. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/file.h"
#include "common/npy.h"
#include "graph/importers/import_job.h"

/* Opens FILE.npy or FILE.npz:MEMBER and records the file. */
static enum status array_open(struct graph_builder *builder, const char *spec, struct npy *array,
                              struct error *error)
{
    char path[FILE_PATH_BYTES];
    const char *member = NULL, *npz = strstr(spec, ".npz:");
    enum status status = file_path(path, error, "%s", spec);
    if (status != STATUS_OK) return status;
    if (npz != NULL) {
        path[npz - spec + 4] = '\0';
        member = npz + 5;
    }
    status = npy_open_foreign(array, path, member, error);
    if (status == STATUS_OK) status = graph_builder_source(builder, path, error);
    return status;
}

static bool is_whole(const struct npy *array)
{
    return array->type != NPY_F32 && array->type != NPY_F64;
}

/* A two-dimensional array is [rows, columns]; one of one dimension is one row. */
static enum status whole_matrix(const struct npy *array, const char *spec, const char *expected,
                                struct error *error)
{
    if (is_whole(array) && (array->dims == 1 || array->dims == 2)) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%s: %s of %u dimensions, expected %s", spec,
                     npy_type_name(array->type), array->dims, expected);
}

static enum status nodes_count(const char *spec, uint64_t found, struct graph_builder *builder,
                               struct error *error)
{
    const uint32_t nodes = node_index_count(graph_builder_nodes(builder));
    if (found == nodes) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%s: %llu nodes, expected %u as in the other inputs",
                     spec, (unsigned long long)found, nodes);
}

static enum status nodes_add(struct graph_builder *builder, uint64_t count, const char *spec,
                             struct error *error)
{
    if (count >= NODE_NONE)
        return error_set(error, STATUS_INVALID, "%s: more than 2^32 nodes", spec);
    for (uint64_t id = 0; id < count; id++)
        CHECK(node_index_add_number(graph_builder_nodes(builder), id) == id);
    return STATUS_OK;
}

static enum status features_read(struct import_job *job, struct graph_builder *builder,
                                 struct error *error)
{
    struct npy array = {.data = NULL};
    float *row = NULL;
    enum status status = array_open(builder, job->features, &array, error);
    if (status != STATUS_OK) return status;
    if (array.dims != 2 || array.shape[1] == 0 || array.shape[1] >= UINT32_MAX) {
        status = error_set(error, STATUS_CORRUPT, "%s: %u dimensions, expected [nodes, columns]",
                           job->features, array.dims);
        goto out;
    }
    status = nodes_add(builder, array.shape[0], job->features, error);
    const uint32_t dim = (uint32_t)array.shape[1];
    row = malloc(dim * sizeof *row);
    CHECK(row != NULL);
    for (uint64_t node = 0; node < array.shape[0] && status == STATUS_OK; node++) {
        bool finite = true;
        for (uint32_t column = 0; column < dim; column++) {
            row[column] = (float)npy_f64(&array, node * dim + column);
            finite = finite && isfinite(row[column]);
        }
        if (!finite) {
            status = import_bad_row(job, job->features, node, error, "a feature is not finite");
            continue;
        }
        status = graph_builder_dense_row(builder, (uint32_t)node, row, dim, error);
        if (status == STATUS_OK) status = import_progress(job, "nodes read", node, error);
    }
out:
    free(row);
    npy_close(&array);
    return status;
}

static enum status labels_read(struct import_job *job, struct graph_builder *builder,
                               struct error *error)
{
    struct npy array = {.data = NULL};
    enum status status = array_open(builder, job->labels, &array, error);
    if (status != STATUS_OK) return status;
    status = whole_matrix(&array, job->labels, "whole numbers, [nodes]", error);
    if (status == STATUS_OK && array.dims == 2 && array.shape[1] != 1) {
        status = error_set(error, STATUS_CORRUPT, "%s: several labels a node, expected [nodes]",
                           job->labels);
    }
    if (status == STATUS_OK && node_index_count(graph_builder_nodes(builder)) == 0)
        status = nodes_add(builder, array.count, job->labels, error);
    if (status == STATUS_OK) status = nodes_count(job->labels, array.count, builder, error);
    for (uint64_t node = 0; node < array.count && status == STATUS_OK; node++) {
        int64_t label = npy_i64(&array, node);
        if (label < -1 || label > INT32_MAX - 1) {
            status = import_bad_row(job, job->labels, node, error,
                                    "label %lld, expected -1 (unknown) or more", (long long)label);
            continue;
        }
        graph_builder_label(builder, (uint32_t)node, (int32_t)label);
    }
    npy_close(&array);
    return status;
}

static enum status splits_read(struct import_job *job, struct graph_builder *builder,
                               struct error *error)
{
    struct npy array = {.data = NULL};
    enum status status = array_open(builder, job->splits, &array, error);
    if (status != STATUS_OK) return status;
    status = whole_matrix(&array, job->splits, "whole numbers, [nodes] or [k, nodes]", error);
    if (status != STATUS_OK) goto out;
    const uint64_t rows = array.dims == 2 ? array.shape[0] : 1;
    const uint64_t nodes = array.dims == 2 ? array.shape[1] : array.shape[0];
    if (rows == 0 || rows > UINT16_MAX) {
        status = error_set(error, STATUS_CORRUPT, "%s: %llu splits, expected 1 to 65535",
                           job->splits, (unsigned long long)rows);
        goto out;
    }
    if (node_index_count(graph_builder_nodes(builder)) == 0)
        status = nodes_add(builder, nodes, job->splits, error);
    if (status == STATUS_OK) status = nodes_count(job->splits, nodes, builder, error);
    if (status != STATUS_OK) goto out;
    graph_builder_split_count(builder, (uint32_t)rows);
    for (uint64_t item = 0; item < array.count; item++) {
        int64_t code = npy_i64(&array, item);
        if (code < GRAPH_SPLIT_TRAIN || code > GRAPH_SPLIT_TEST) code = GRAPH_SPLIT_NONE;
        graph_builder_split(builder, (uint32_t)(item % nodes), (uint32_t)(item / nodes),
                            (enum graph_split)code);
    }
out:
    npy_close(&array);
    return status;
}

/* Without any node data the nodes are 0 to the highest in edge_index. */
static enum status nodes_from_edges(struct graph_builder *builder, const struct npy *array,
                                    const char *spec, struct error *error)
{
    int64_t highest = -1;
    for (uint64_t i = 0; i < array->count; i++) {
        int64_t id = npy_i64(array, i);
        if (id > highest) highest = id;
    }
    if (highest >= (int64_t)NODE_NONE - 1) {
        return error_set(error, STATUS_INVALID, "%s: node %lld: more than 2^32 nodes", spec,
                         (long long)highest);
    }
    return nodes_add(builder, (uint64_t)(highest + 1), spec, error);
}

static enum status edges_read(struct import_job *job, struct graph_builder *builder,
                              struct error *error)
{
    struct npy array = {.data = NULL};
    enum status status = array_open(builder, job->edge_index, &array, error);
    if (status != STATUS_OK) return status;
    if (!is_whole(&array) || array.dims != 2 || array.shape[0] != 2) {
        status = error_set(error, STATUS_CORRUPT,
                           "%s: %s of %u dimensions, expected whole numbers, [2, edges]",
                           job->edge_index, npy_type_name(array.type), array.dims);
        goto out;
    }
    if (node_index_count(graph_builder_nodes(builder)) == 0)
        status = nodes_from_edges(builder, &array, job->edge_index, error);
    const uint64_t edges = array.shape[1];
    const uint32_t nodes = node_index_count(graph_builder_nodes(builder));
    for (uint64_t i = 0; i < edges && status == STATUS_OK; i++) {
        const int64_t src = npy_i64(&array, i), dst = npy_i64(&array, edges + i);
        if (src < 0 || dst < 0 || src >= nodes || dst >= nodes) {
            status = import_bad_row(job, job->edge_index, i, error,
                                    "edge %lld to %lld, expected nodes from 0 to below %u",
                                    (long long)src, (long long)dst, nodes);
            continue;
        }
        const struct edge edge = {.src = (uint32_t)src, .dst = (uint32_t)dst};
        status = graph_builder_edge(builder, &edge, error);
        if (status == STATUS_OK) status = import_progress(job, "edges read", i, error);
    }
out:
    npy_close(&array);
    return status;
}

enum status import_numpy(struct import_job *job, struct graph_summary *summary, struct error *error)
{
    struct graph_builder *builder = NULL;
    if (job->edge_index == NULL) return error_set(error, STATUS_USAGE, "numpy needs --edge-index");
    if (job->features != NULL && job->nodes != NULL)
        return error_set(error, STATUS_USAGE, "--features and --nodes do not go together");
    import_defaults(job, REVERSE_NONE, false);
    enum status status = graph_builder_create(&builder, &job->graph, false,
                                              (struct edge_layout){.typed = false}, error);
    if (status == STATUS_OK && job->nodes != NULL)
        status = import_svmlight_nodes(job, builder, job->nodes, error);
    if (status == STATUS_OK && job->features != NULL) status = features_read(job, builder, error);
    if (status == STATUS_OK && job->labels != NULL) status = labels_read(job, builder, error);
    if (status == STATUS_OK && job->splits != NULL) status = splits_read(job, builder, error);
    if (status == STATUS_OK) status = edges_read(job, builder, error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, summary, error);
    graph_builder_destroy(builder);
    return status;
}
