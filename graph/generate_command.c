/* anthill-graph generate: random graphs for measurements. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/check.h"
#include "common/program.h"
#include "common/rng.h"
#include "common/text.h"
#include "graph/graph_builder.h"
#include "graph/graph_commands.h"

#define STOP_CHECK_ITEMS (1u << 16)

/* Thresholds of R-MAT's quadrants .57 .19 .19 .05 in 16 bits.
 * source: Chakrabarti, Zhan, Faloutsos 2004, "R-MAT: a recursive model for graph mining" */
enum { QUADRANT_A = 37355, QUADRANT_AB = 49807, QUADRANT_ABC = 62259 };

/* Which numbers of the seed's stream are for what. */
enum { STREAM_EDGES, STREAM_ORDER, STREAM_LABELS, STREAM_FEATURES, STREAM_SPLIT };

struct arguments {
    const char *model;
    uint64_t nodes, edges, seed, features, classes;
    bool in_order;
    struct graph_options options;
};

static const struct argp_option options[] = {
    {"out", 'o', "DIR", 0, "folder of the graph", 0},
    {"scale", 's', "S", 0, "2^S nodes", 0},
    {"nodes", 'n', "N", 0, "N nodes", 0},
    {"edges", 'e', "E", 0, "number of edges", 0},
    {"seed", 'r', "K", 0, "of all random choices (default 1)", 0},
    {"features", 'f', "D", 0, "dense feature columns (default 0)", 0},
    {"classes", 'c', "C", 0, "classes, which features and neighbours tell of (default 0)", 0},
    {"in-order", 'i', NULL, 0,
     "leave nodes in the model's order, where those of high degree come first; else at random", 0},
    {"partitions", 'p', "P", 0, "number of partitions (default 1)", 0},
    {"memory", 'm', "BYTES", 0, "for sorting edges (default 256M)", 0},
    {0}};

static void number_parse(const char *name, const char *value, uint64_t least, uint64_t most,
                         uint64_t *number, const struct argp_state *state)
{
    if (!command_parse_number(value, least, most, number))
        argp_error(state, "--%s: \"%s\" is no whole number from %llu to %llu", name, value,
                   (unsigned long long)least, (unsigned long long)most);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    uint64_t number = 0;
    switch (key) {
    case 'o':
        arguments->options.out = value;
        return 0;
    case 's':
        number_parse("scale", value, 1, 31, &number, state);
        arguments->nodes = UINT64_C(1) << number;
        return 0;
    case 'n':
        number_parse("nodes", value, 1, UINT64_C(1) << 31, &arguments->nodes, state);
        return 0;
    case 'e':
        number_parse("edges", value, 0, UINT64_C(1) << 48, &arguments->edges, state);
        return 0;
    case 'r':
        number_parse("seed", value, 0, UINT64_MAX, &arguments->seed, state);
        return 0;
    case 'f':
        number_parse("features", value, 0, 1u << 20, &arguments->features, state);
        return 0;
    case 'c':
        number_parse("classes", value, 0, 1u << 20, &arguments->classes, state);
        return 0;
    case 'i':
        arguments->in_order = true;
        return 0;
    case 'p':
        number_parse("partitions", value, 1, 65536, &number, state);
        arguments->options.partitions = (uint32_t)number;
        return 0;
    case 'm':
        if (!command_parse_size(value, &arguments->options.memory_bytes))
            argp_error(state, "--memory: \"%s\" is no size", value);
        return 0;
    case ARGP_KEY_ARG:
        if (strcmp(value, "rmat") != 0 || arguments->model != NULL)
            argp_error(state, "\"%s\": the model is rmat", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (arguments->model == NULL) argp_error(state, "a model is needed: rmat");
        if (arguments->options.out == NULL) argp_error(state, "--out is needed");
        if (arguments->nodes == 0) argp_error(state, "--scale or --nodes is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "rmat --scale S --edges E --out DIR",
    .doc =
        "Makes a random graph (R-MAT with .57 .19 .19 .05). With --classes each node has a label "
        "and a split (60 % train, 20 % valid, 20 % test), and with --features its row is normal "
        "noise around its class's centre."};

static void rmat_edge(struct rng *rng, unsigned levels, uint64_t *src, uint64_t *dst)
{
    uint64_t bits = 0;
    *src = *dst = 0;
    for (unsigned level = 0; level < levels; level++) {
        bits = level % 4 == 0 ? rng_u64(rng) : bits >> 16;
        const unsigned draw = bits & 0xffff;
        *src = *src << 1 | (draw >= QUADRANT_AB);
        *dst = *dst << 1 | ((draw >= QUADRANT_A && draw < QUADRANT_AB) || draw >= QUADRANT_ABC);
    }
}

static enum status stop_check(uint64_t done, struct error *error)
{
    if (done % STOP_CHECK_ITEMS != 0 || !program_stop_requested()) return STATUS_OK;
    return error_set(error, STATUS_STOPPED, "stopped by a signal");
}

static enum status edges_make(const struct arguments *arguments, struct graph_builder *builder,
                              struct error *error)
{
    struct rng rng = rng_make(rng_key(arguments->seed, STREAM_EDGES));
    unsigned levels = 0;
    while ((UINT64_C(1) << levels) < arguments->nodes)
        levels++;
    uint32_t *order = malloc(arguments->nodes * sizeof *order);
    CHECK(order != NULL);
    const uint64_t order_key = rng_key(arguments->seed, STREAM_ORDER);
    for (uint64_t i = 0; i < arguments->nodes; i++)
        order[i] =
            (uint32_t)(arguments->in_order ? i : rng_permute(order_key, arguments->nodes, i));
    enum status status = STATUS_OK;
    for (uint64_t made = 0; made < arguments->edges && status == STATUS_OK;) {
        uint64_t src, dst;
        rmat_edge(&rng, levels, &src, &dst);
        if (src >= arguments->nodes || dst >= arguments->nodes) continue;
        const struct edge edge = {.src = order[src], .dst = order[dst]};
        status = graph_builder_edge(builder, &edge, error);
        if (status == STATUS_OK) status = stop_check(++made, error);
    }
    free(order);
    return status;
}

static enum status nodes_make(const struct arguments *arguments, struct graph_builder *builder,
                              struct error *error)
{
    const uint32_t dim = (uint32_t)arguments->features;
    float *row = malloc((dim + 1u) * sizeof *row);
    CHECK(row != NULL);
    enum status status = STATUS_OK;
    if (arguments->classes > 0) graph_builder_split_count(builder, 1);
    for (uint64_t id = 0; id < arguments->nodes && status == STATUS_OK; id++) {
        const uint32_t node = node_index_add_number(graph_builder_nodes(builder), id);
        CHECK(node == id);
        struct rng rng = rng_make(rng_key(rng_key(arguments->seed, STREAM_LABELS), id));
        uint64_t label = 0;
        if (arguments->classes > 0) {
            label = rng_below(&rng, arguments->classes);
            const uint64_t draw = rng_below(&rng, 100);
            graph_builder_label(builder, node, (int32_t)label);
            graph_builder_split(builder, node, 0,
                                draw < 60   ? GRAPH_SPLIT_TRAIN
                                : draw < 80 ? GRAPH_SPLIT_VALID
                                            : GRAPH_SPLIT_TEST);
        }
        rng = rng_make(rng_key(rng_key(arguments->seed, STREAM_FEATURES), id));
        for (uint32_t column = 0; column < dim; column++) {
            /* A class's centre has the sign of a random bit in every column. */
            float centre = (rng_key(label, column) & 1) != 0 ? 0.5f : -0.5f;
            row[column] = rng_normal(&rng) + (arguments->classes > 0 ? centre : 0.0f);
        }
        if (dim > 0) status = graph_builder_dense_row(builder, node, row, dim, error);
        if (status == STATUS_OK) status = stop_check(id, error);
    }
    free(row);
    return status;
}

int generate_command(int argc, char **argv)
{
    struct arguments arguments = {
        .seed = 1, .options = {.partitions = 1, .memory_bytes = UINT64_C(256) << 20}};
    struct error error = {.text = ""};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    struct text record = {.data = NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    text_add(&record,
             "generate rmat --nodes %llu --edges %llu --seed %llu --features %llu --classes %llu%s",
             (unsigned long long)arguments.nodes, (unsigned long long)arguments.edges,
             (unsigned long long)arguments.seed, (unsigned long long)arguments.features,
             (unsigned long long)arguments.classes, arguments.in_order ? " --in-order" : "");
    arguments.options.arguments = record.data;
    enum status status = graph_builder_create(&builder, &arguments.options, false,
                                              (struct edge_layout){.typed = false}, &error);
    if (status == STATUS_OK) status = nodes_make(&arguments, builder, &error);
    if (status == STATUS_OK) status = edges_make(&arguments, builder, &error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, &summary, &error);
    graph_builder_destroy(builder);
    text_deinit(&record);
    if (status != STATUS_OK) return program_fail(status, &error);
    fprintf(stderr, "%s: %llu nodes, %llu edges\n", arguments.options.out,
            (unsigned long long)summary.node_count, (unsigned long long)summary.edge_count);
    return EX_OK;
}
