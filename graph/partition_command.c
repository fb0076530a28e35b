/* anthill-graph partition: the same graph in other partitions. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/program.h"
#include "common/text.h"
#include "graph/graph_builder.h"
#include "graph/graph_commands.h"
#include "graph/graph_mapping.h"

#define STOP_CHECK_NODES 4096

struct arguments {
    const char *path;
    struct graph_options options;
};

static const struct argp_option options[] = {
    {"out", 'o', "DIR", 0, "folder of the new graph", 0},
    {"partitions", 'p', "P", 0, "number of partitions", 0},
    {"by", 'b', "KIND", 0, "hash of the external id (default), or range", 0},
    {"memory", 'm', "BYTES", 0, "for sorting edges (default 256M)", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    uint64_t number;
    switch (key) {
    case 'o':
        arguments->options.out = value;
        return 0;
    case 'p':
        if (!command_parse_number(value, 1, 65536, &number))
            argp_error(state, "--partitions: \"%s\" is no whole number from 1 to 65536", value);
        arguments->options.partitions = (uint32_t)number;
        return 0;
    case 'b':
        arguments->options.by_range = strcmp(value, "range") == 0;
        if (!arguments->options.by_range && strcmp(value, "hash") != 0)
            argp_error(state, "--by: \"%s\" is neither hash nor range", value);
        return 0;
    case 'm':
        if (!command_parse_size(value, &arguments->options.memory_bytes))
            argp_error(state, "--memory: \"%s\" is no size", value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path != NULL) argp_error(state, "\"%s\" is one argument too many", value);
        arguments->path = value;
        return 0;
    case ARGP_KEY_END:
        if (arguments->path == NULL) argp_error(state, "the folder of a graph is needed");
        if (arguments->options.out == NULL) argp_error(state, "--out is needed");
        if (arguments->options.partitions == 0) argp_error(state, "--partitions is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {.options = options,
                                 .parser = parse,
                                 .args_doc = "DIR --partitions P --out DIR2",
                                 .doc = "Writes a graph anew with another number of partitions."};

/* Names keep their order of appearance, which their ordinals tell: order[ordinal] = global id. */
static enum status appearance_order(const struct graph *graph, uint64_t *order, struct error *error)
{
    const uint64_t count = graph->info.node_count;
    for (uint64_t i = 0; i < count; i++)
        order[i] = UINT64_MAX;
    for (uint64_t node = 0; node < count; node++) {
        uint64_t ordinal = graph_external_id(graph, node);
        if (ordinal >= count || order[ordinal] != UINT64_MAX) {
            return error_set(error, STATUS_CORRUPT,
                             "node_ids.npy: the ordinals of names are not 0 to %llu",
                             (unsigned long long)count - 1);
        }
        order[ordinal] = node;
    }
    return STATUS_OK;
}

static enum status node_copy(const struct graph *graph, struct graph_builder *builder,
                             uint64_t node, uint32_t *number, struct error *error)
{
    uint64_t row;
    uint32_t bytes;
    const struct graph_partition *partition = graph_home(graph, node, &row);
    const struct graph_info *info = &graph->info;
    const char *name = graph_node_name(graph, node, &bytes);
    const uint32_t next = node_index_count(graph_builder_nodes(builder));
    *number = name != NULL
                  ? node_index_add_name(graph_builder_nodes(builder), name, bytes)
                  : node_index_add_number(graph_builder_nodes(builder), partition->node_ids[row]);
    if (*number != next)
        return error_set(error, STATUS_CORRUPT,
                         "two nodes have the same id, or there are too many");
    if (partition->labels != NULL)
        graph_builder_label(builder, *number,
                            partition->labels[row] < 0 ? -1 : partition->labels[row]);
    for (uint32_t split = 0; split < info->split_count; split++) {
        uint8_t code = partition->splits[row * info->split_count + split];
        graph_builder_split(builder, *number, split,
                            code < GRAPH_SPLIT_NONE ? code : GRAPH_SPLIT_NONE);
    }
    if (partition->dense != NULL) {
        return graph_builder_dense_row(builder, *number, partition->dense + row * info->feature_dim,
                                       info->feature_dim, error);
    }
    if (partition->feature_indptr == NULL) return STATUS_OK;
    const uint64_t first = partition->feature_indptr[row];
    return graph_builder_sparse_row(builder, *number, partition->feature_columns + first,
                                    partition->feature_values + first,
                                    (uint32_t)(partition->feature_indptr[row + 1] - first), error);
}

static enum status nodes_copy(const struct graph *graph, struct graph_builder *builder,
                              uint32_t *numbers, struct error *error)
{
    const uint64_t count = graph->info.node_count;
    const bool named = graph->metadata->ids == GRAPH_IDS_NAME;
    uint64_t *order = malloc((count + 1) * sizeof *order);
    CHECK(order != NULL);
    enum status status = named ? appearance_order(graph, order, error) : STATUS_OK;
    graph_builder_feature_dim(builder, graph->info.feature_dim);
    if (graph->info.split_count > 0) graph_builder_split_count(builder, graph->info.split_count);
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
        const uint64_t node = named ? order[i] : i;
        status = node_copy(graph, builder, node, &numbers[node], error);
        if (status == STATUS_OK && i % STOP_CHECK_NODES == 0 && program_stop_requested())
            status = error_set(error, STATUS_STOPPED, "stopped by a signal");
    }
    free(order);
    return status;
}

static enum status names_copy(const struct graph *graph, struct graph_builder *builder,
                              struct error *error)
{
    const struct graph_info *info = &graph->info;
    for (uint32_t t = 0; t < info->edge_type_count; t++) {
        uint16_t type;
        enum status status = graph_builder_edge_type(
            builder, info->edge_types[t].name, strlen(info->edge_types[t].name), &type, error);
        if (status != STATUS_OK) return status;
        if (info->edge_types[t].inverse) graph_builder_mark_inverse(builder, type);
    }
    for (uint32_t c = 0; info->class_names != NULL && c < info->class_count; c++)
        graph_builder_class(builder, info->class_names[c], strlen(info->class_names[c]));
    return STATUS_OK;
}

static enum status edges_copy(const struct graph *graph, struct graph_builder *builder,
                              const uint32_t *numbers, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint64_t dst = 0; dst < graph->info.node_count && status == STATUS_OK; dst++) {
        uint64_t row;
        const struct graph_partition *partition = graph_home(graph, dst, &row);
        const uint32_t p = graph_owner(graph, dst);
        for (uint64_t e = partition->indptr[row]; e < partition->indptr[row + 1]; e++) {
            const uint64_t src = graph_global(graph, p, partition->indices[e]);
            const struct edge edge = {
                .src = numbers[src],
                .dst = numbers[dst],
                .type = partition->types != NULL ? partition->types[e] : 0,
                .weight = partition->weights != NULL ? partition->weights[e] : 0.0f,
                .time = partition->times != NULL ? partition->times[e] : 0,
                .split = partition->edge_splits != NULL ? partition->edge_splits[e] : 0};
            status = graph_builder_edge(builder, &edge, error);
            if (status != STATUS_OK) break;
        }
        if (status == STATUS_OK && dst % STOP_CHECK_NODES == 0 && program_stop_requested())
            status = error_set(error, STATUS_STOPPED, "stopped by a signal");
    }
    return status;
}

static enum status graph_copy(const struct graph *graph, const struct graph_options *how,
                              struct error *error)
{
    const struct graph_metadata *metadata = graph->metadata;
    const struct edge_layout layout = {.typed = metadata->typed,
                                       .weighted = metadata->weighted,
                                       .timed = metadata->timed,
                                       .split = metadata->edge_split};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    uint32_t *numbers = malloc((metadata->node_count + 1) * sizeof *numbers);
    CHECK(numbers != NULL);
    enum status status =
        graph_builder_create(&builder, how, metadata->ids == GRAPH_IDS_NAME, layout, error);
    if (status == STATUS_OK) status = names_copy(graph, builder, error);
    if (status == STATUS_OK) status = nodes_copy(graph, builder, numbers, error);
    if (status == STATUS_OK) status = edges_copy(graph, builder, numbers, error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, &summary, error);
    graph_builder_destroy(builder);
    free(numbers);
    return status;
}

int partition_command(int argc, char **argv)
{
    struct arguments arguments = {.options = {.memory_bytes = UINT64_C(256) << 20}};
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct text record = {.data = NULL};
    enum status status = graph_open(&graph, arguments.path, 0, &error);
    if (status == STATUS_OK) {
        text_add(&record, "%s, partition --partitions %u --by %s", graph->metadata->arguments,
                 arguments.options.partitions, arguments.options.by_range ? "range" : "hash");
        arguments.options.arguments = record.data;
        status = graph_copy(graph, &arguments.options, &error);
    }
    text_deinit(&record);
    graph_close(graph);
    return status == STATUS_OK ? EX_OK : program_fail(status, &error);
}
