/* anthill-graph info: what a graph has, for people or as JSON. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/check.h"
#include "common/program.h"
#include "common/text.h"
#include "graph/graph_commands.h"
#include "graph/graph_mapping.h"

struct arguments {
    const char *path;
    bool json;
};

static const struct argp_option options[] = {{"json", 'j', NULL, 0, "one JSON object on stdout", 0},
                                             {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'j':
        arguments->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path != NULL) argp_error(state, "\"%s\" is one argument too many", value);
        arguments->path = value;
        return 0;
    case ARGP_KEY_END:
        if (arguments->path == NULL) argp_error(state, "the folder of a graph is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {.options = options,
                                 .parser = parse,
                                 .args_doc = "DIR",
                                 .doc = "Shows counts, types, degrees, features, classes, splits "
                                        "and partitions of a graph."};

/* In-degrees: those at some shares of the nodes in ascending order. */
struct degrees {
    uint32_t least, median, p90, p99, most;
    uint64_t without; /* nodes without in-edges */
};

static int degree_compare(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static struct degrees degrees_of(const struct graph *graph)
{
    struct degrees degrees = {.least = 0};
    const uint64_t count = graph->info.node_count;
    if (count == 0) return degrees;
    uint32_t *sorted = malloc(count * sizeof *sorted);
    CHECK(sorted != NULL);
    for (uint64_t node = 0; node < count; node++) {
        sorted[node] = (uint32_t)graph_degree(graph, node);
        degrees.without += sorted[node] == 0;
    }
    qsort(sorted, count, sizeof *sorted, degree_compare);
    degrees.least = sorted[0];
    degrees.median = sorted[count / 2];
    degrees.p90 = sorted[count * 9 / 10];
    degrees.p99 = sorted[count * 99 / 100];
    degrees.most = sorted[count - 1];
    free(sorted);
    return degrees;
}

static const char *features_name(enum graph_features features)
{
    return features == GRAPH_FEATURES_DENSE    ? "dense"
           : features == GRAPH_FEATURES_SPARSE ? "sparse"
                                               : "none";
}

static uint64_t partition_bytes(const struct graph_metadata_partition *partition)
{
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < partition->files_count; f++)
        bytes += partition->files[f].bytes;
    return bytes;
}

static uint64_t value_count(const struct graph_metadata *metadata)
{
    uint64_t count = 0;
    for (uint32_t p = 0; p < metadata->partitions_count; p++)
        count += metadata->partitions[p].value_count;
    return count;
}

/* counts[split][code] of every column of split.npy. */
static uint64_t (*splits_count(const struct graph *graph))[GRAPH_SPLIT_NONE + 1]
{
    const uint32_t columns = graph->info.split_count;
    uint64_t(*counts)[GRAPH_SPLIT_NONE + 1] = calloc(columns + 1u, sizeof *counts);
    CHECK(counts != NULL);
    for (uint32_t p = 0; p < graph->partition_count; p++) {
        const struct graph_partition *partition = &graph->partitions[p];
        const uint64_t items = (partition->end - partition->start) * columns;
        for (uint64_t i = 0; i < items; i++) {
            uint8_t code = partition->splits[i];
            counts[i % columns][code < GRAPH_SPLIT_NONE ? code : GRAPH_SPLIT_NONE]++;
        }
    }
    return counts;
}

#define ULL(number) ((unsigned long long)(number))

static void print_text(const struct graph *graph, const char *path)
{
    const struct graph_metadata *metadata = graph->metadata;
    const struct degrees degrees = degrees_of(graph);
    printf("%s\n", path);
    printf("  made by     %s\n", metadata->arguments);
    printf("  nodes       %llu (ids are %ss)\n", ULL(metadata->node_count),
           metadata->ids == GRAPH_IDS_NAME ? "name" : "number");
    printf("  edges       %llu%s%s%s\n", ULL(metadata->edge_count),
           metadata->weighted ? ", weighted" : "", metadata->timed ? ", timed" : "",
           metadata->edge_split ? ", split" : "");
    for (uint32_t t = 0; t < metadata->edge_types_count; t++) {
        printf("  edge type   %s%s: %llu\n", metadata->edge_types[t].name,
               metadata->edge_types[t].inverse ? " (inverse)" : "",
               ULL(metadata->edge_types[t].edge_count));
    }
    printf("  in-degree   least %u, median %u, 90 %% %u, 99 %% %u, most %u; %llu nodes without\n",
           degrees.least, degrees.median, degrees.p90, degrees.p99, degrees.most,
           ULL(degrees.without));
    printf("  features    %s, %u columns", features_name(metadata->features),
           metadata->feature_dim);
    if (metadata->features == GRAPH_FEATURES_SPARSE)
        printf(", %llu values", ULL(value_count(metadata)));
    printf("\n  classes     %u%s\n", metadata->class_count, metadata->labels ? "" : " (no labels)");
    uint64_t(*splits)[GRAPH_SPLIT_NONE + 1] = splits_count(graph);
    for (uint32_t s = 0; s < metadata->split_count; s++) {
        printf("  split %-5u train %llu, valid %llu, test %llu, none %llu\n", s, ULL(splits[s][0]),
               ULL(splits[s][1]), ULL(splits[s][2]), ULL(splits[s][3]));
    }
    free(splits);
    for (uint32_t p = 0; p < metadata->partitions_count; p++) {
        const struct graph_metadata_partition *partition = &metadata->partitions[p];
        printf("  part-%-6u nodes [%llu, %llu), %llu edges, %llu halo nodes, %llu bytes\n", p,
               ULL(partition->start), ULL(partition->end), ULL(partition->edge_count),
               ULL(partition->halo_count), ULL(partition_bytes(partition)));
    }
}

static void json_types(struct text *text, const struct graph_metadata *metadata)
{
    text_add(text, ",\"edge_types\":[");
    for (uint32_t t = 0; t < metadata->edge_types_count; t++) {
        text_add(text, "%s{\"name\":", t > 0 ? "," : "");
        text_add_json_string(text, metadata->edge_types[t].name);
        text_add(text, ",\"inverse\":%s,\"edges\":%llu}",
                 metadata->edge_types[t].inverse ? "true" : "false",
                 ULL(metadata->edge_types[t].edge_count));
    }
    text_add(text, "]");
}

static void json_classes(struct text *text, const struct graph_metadata *metadata)
{
    text_add(text, ",\"labels\":%s,\"classes\":%u,\"class_names\":[",
             metadata->labels ? "true" : "false", metadata->class_count);
    for (uint32_t c = 0; c < metadata->class_names_count; c++) {
        if (c > 0) text_add(text, ",");
        text_add_json_string(text, metadata->class_names[c]);
    }
    text_add(text, "]");
}

static void print_json(const struct graph *graph, const char *path)
{
    const struct graph_metadata *metadata = graph->metadata;
    const struct degrees degrees = degrees_of(graph);
    struct text text = {.data = NULL};
    text_add(&text, "{\"path\":");
    text_add_json_string(&text, path);
    text_add(&text, ",\"arguments\":");
    text_add_json_string(&text, metadata->arguments);
    text_add(&text, ",\"nodes\":%llu,\"edges\":%llu,\"ids\":\"%s\"", ULL(metadata->node_count),
             ULL(metadata->edge_count), metadata->ids == GRAPH_IDS_NAME ? "name" : "number");
    text_add(&text, ",\"weighted\":%s,\"timed\":%s,\"edge_split\":%s",
             metadata->weighted ? "true" : "false", metadata->timed ? "true" : "false",
             metadata->edge_split ? "true" : "false");
    json_types(&text, metadata);
    text_add(&text,
             ",\"in_degree\":{\"least\":%u,\"median\":%u,\"p90\":%u,\"p99\":%u,\"most\":%u,"
             "\"nodes_without\":%llu}",
             degrees.least, degrees.median, degrees.p90, degrees.p99, degrees.most,
             ULL(degrees.without));
    text_add(&text, ",\"features\":\"%s\",\"feature_columns\":%u,\"feature_values\":%llu",
             features_name(metadata->features), metadata->feature_dim, ULL(value_count(metadata)));
    json_classes(&text, metadata);
    text_add(&text, ",\"splits\":[");
    uint64_t(*splits)[GRAPH_SPLIT_NONE + 1] = splits_count(graph);
    for (uint32_t s = 0; s < metadata->split_count; s++) {
        text_add(&text, "%s{\"train\":%llu,\"valid\":%llu,\"test\":%llu,\"none\":%llu}",
                 s > 0 ? "," : "", ULL(splits[s][0]), ULL(splits[s][1]), ULL(splits[s][2]),
                 ULL(splits[s][3]));
    }
    free(splits);
    text_add(&text, "],\"partitions\":[");
    for (uint32_t p = 0; p < metadata->partitions_count; p++) {
        const struct graph_metadata_partition *partition = &metadata->partitions[p];
        text_add(&text,
                 "%s{\"start\":%llu,\"end\":%llu,\"edges\":%llu,\"halo\":%llu,\"bytes\":%llu}",
                 p > 0 ? "," : "", ULL(partition->start), ULL(partition->end),
                 ULL(partition->edge_count), ULL(partition->halo_count),
                 ULL(partition_bytes(partition)));
    }
    text_add(&text, "],\"checksum\":\"%016llx\"}", ULL(graph->info.checksum));
    puts(text.data);
    text_deinit(&text);
}

int info_command(int argc, char **argv)
{
    struct arguments arguments = {.path = NULL};
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    enum status status = graph_open(&graph, arguments.path, 0, &error);
    if (status != STATUS_OK) return program_fail(status, &error);
    if (arguments.json)
        print_json(graph, arguments.path);
    else
        print_text(graph, arguments.path);
    graph_close(graph);
    if (fflush(stdout) == 0) return EX_OK;
    status = error_set(&error, STATUS_IO, "cannot write to standard output");
    return program_fail(status, &error);
}
