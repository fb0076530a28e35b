/* anthill-graph sample: what minibatches of a graph look like, and how fast they are sampled. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/program.h"
#include "common/rng.h"
#include "graph/graph_commands.h"
#include "graph/graph_store.h"
#include "graph/neighbor_sampler.h"
#include "graph/table_reader.h"

struct arguments {
    const char *path;
    int32_t fanouts[BLOCK_HOPS_MAX];
    uint32_t hop_count;
    const char *seeds_from;
    uint64_t batch, batches, seed;
    bool degrees, json;
};

struct totals {
    uint64_t batches, seeds, edges, inputs;
    uint64_t ns;
};

static const struct argp_option options[] = {
    {"fanouts", 'f', "LIST", 0, "neighbours per hop, hop 1 first; -1: all (default 15,10)", 0},
    {"seeds-from", 's', "WHAT", 0,
     "train, valid, test or all (default), or global ids with commas between them", 0},
    {"batch", 'b', "N", 0, "seeds a minibatch (default 1024)", 0},
    {"batches", 'k', "K", 0, "number of minibatches (default 100)", 0},
    {"seed", 'r', "N", 0, "of the random choices (default 1)", 0},
    {"degrees", 'd', NULL, 0, "look up the in-degrees of all nodes too", 0},
    {"json", 'j', NULL, 0, "one JSON object on stdout", 0},
    {0}};

static void fanouts_parse(struct arguments *arguments, char *text, const struct argp_state *state)
{
    char *rest = NULL;
    arguments->hop_count = 0;
    for (char *token = strtok_r(text, ",", &rest); token != NULL;
         token = strtok_r(NULL, ",", &rest)) {
        const struct field field = {.text = token, .bytes = strlen(token)};
        int64_t fanout;
        if (!parse_i64(&field, &fanout) || fanout < -1 || fanout > INT32_MAX)
            argp_error(state, "--fanouts: \"%s\" is no whole number from -1", token);
        if (arguments->hop_count == BLOCK_HOPS_MAX)
            argp_error(state, "--fanouts: more than %d hops", BLOCK_HOPS_MAX);
        arguments->fanouts[arguments->hop_count++] = (int32_t)fanout;
    }
}

static void number_parse(const char *name, const char *value, uint64_t least, uint64_t most,
                         uint64_t *number, const struct argp_state *state)
{
    if (!command_parse_number(value, least, most, number))
        argp_error(state, "--%s: \"%s\" is no whole number from %llu", name, value,
                   (unsigned long long)least);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'f':
        fanouts_parse(arguments, value, state);
        return 0;
    case 's':
        arguments->seeds_from = value;
        return 0;
    case 'b':
        number_parse("batch", value, 1, 1u << 24, &arguments->batch, state);
        return 0;
    case 'k':
        number_parse("batches", value, 1, UINT32_MAX, &arguments->batches, state);
        return 0;
    case 'r':
        number_parse("seed", value, 0, UINT64_MAX, &arguments->seed, state);
        return 0;
    case 'd':
        arguments->degrees = true;
        return 0;
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

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "DIR",
    .doc =
        "Samples minibatches and shows the sizes of the first one's blocks and the speed of all."};

static enum status ids_parse(const char *text, uint64_t node_count, uint64_t *ids, uint64_t *count,
                             struct error *error)
{
    *count = 0;
    for (const char *at = text;; at++) {
        size_t bytes = strcspn(at, ",");
        const struct field field = {.text = (char *)at, .bytes = bytes};
        uint64_t id = 0;
        bool good = parse_u64(&field, &id, NULL) && id < node_count;
        for (uint64_t i = 0; i < *count && good; i++)
            good = ids[i] != id;
        if (!good) {
            return error_set(
                error, STATUS_USAGE,
                "--seeds-from: \"%.*s\" is none of train, valid, test, all, nor a node "
                "from 0 to below %llu that is there once",
                (int)bytes, at, (unsigned long long)node_count);
        }
        ids[(*count)++] = id;
        at += bytes;
        if (*at == '\0') return STATUS_OK;
    }
}

/* The nodes that seeds are taken from. returns owned; free(). */
static enum status seeds_find(const struct arguments *arguments, const struct graph *graph,
                              uint64_t **seeds, uint64_t *count, struct error *error)
{
    static const char *const names[] = {"train", "valid", "test"};
    const uint64_t node_count = graph_info(graph)->node_count;
    const uint64_t room =
        node_count > strlen(arguments->seeds_from) ? node_count : strlen(arguments->seeds_from);
    *seeds = malloc((room + 1) * sizeof **seeds);
    CHECK(*seeds != NULL);
    *count = 0;
    for (int split = GRAPH_SPLIT_TRAIN; split <= GRAPH_SPLIT_TEST; split++) {
        if (strcmp(arguments->seeds_from, names[split]) != 0) continue;
        const uint64_t *ids = graph_split_ids(graph, (enum graph_split)split, count);
        memcpy(*seeds, ids, *count * sizeof **seeds);
        if (*count == 0)
            return error_set(error, STATUS_NOT_FOUND, "the graph has no %s nodes", names[split]);
        return STATUS_OK;
    }
    if (strcmp(arguments->seeds_from, "all") != 0)
        return ids_parse(arguments->seeds_from, node_count, *seeds, count, error);
    for (; *count < node_count; ++*count)
        (*seeds)[*count] = *count;
    if (*count == 0) return error_set(error, STATUS_NOT_FOUND, "the graph has no nodes");
    return STATUS_OK;
}

static void blocks_print(const struct minibatch *batch)
{
    printf("seeds %u\n", batch->seed_count);
    for (uint32_t h = 0; h < batch->hop_count; h++) {
        const struct block *block = &batch->blocks[batch->hop_count - 1 - h];
        printf("hop %u: %u dst, %u edges, %u src\n", h + 1, block->dst_count, block->edge_count,
               block->src_count);
    }
}

static void sample_all(const struct arguments *arguments, struct neighbor_sampler *sampler,
                       const uint64_t *seeds, uint64_t count, struct totals *totals)
{
    struct arena *arena = arena_create(1u << 20);
    uint64_t *chosen = malloc(arguments->batch * sizeof *chosen);
    CHECK(chosen != NULL);
    uint64_t next = 0;
    for (uint64_t b = 0; b < arguments->batches && !program_stop_requested(); b++) {
        uint32_t seed_count = 0;
        const uint64_t epoch = next / count;
        while (seed_count < arguments->batch && next / count == epoch) {
            chosen[seed_count++] =
                seeds[rng_permute(rng_key(arguments->seed, epoch), count, next % count)];
            next++;
        }
        struct minibatch batch;
        const uint64_t start = clock_now_ns();
        arena_reset(arena);
        neighbor_sampler_sample(sampler, rng_key(arguments->seed, b), chosen, seed_count, arena,
                                &batch);
        /* The first minibatches pay for memory that later ones have. */
        if (b == 0 && !arguments->json) blocks_print(&batch);
        if (b < 3 && arguments->batches > 10) continue;
        totals->ns += clock_now_ns() - start;
        totals->batches++;
        totals->seeds += seed_count;
        totals->inputs += batch.input_count;
        for (uint32_t h = 0; h < batch.hop_count; h++)
            totals->edges += batch.blocks[h].edge_count;
    }
    free(chosen);
    arena_destroy(arena);
}

int sample_command(int argc, char **argv)
{
    struct arguments arguments = {.fanouts = {15, 10},
                                  .hop_count = 2,
                                  .seeds_from = "all",
                                  .batch = 1024,
                                  .batches = 100,
                                  .seed = 1};
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    struct neighbor_sampler *sampler = NULL;
    struct totals totals = {.batches = 0};
    uint64_t *seeds = NULL, count = 0;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    enum status status = graph_open(&graph, arguments.path, 0, &error);
    if (status == STATUS_OK) status = seeds_find(&arguments, graph, &seeds, &count, &error);
    if (status == STATUS_OK) {
        status = neighbor_sampler_create(&sampler, graph, arguments.fanouts, arguments.hop_count,
                                         &error);
    }
    if (status != STATUS_OK) goto out;
    neighbor_sampler_set_degrees(sampler, arguments.degrees);
    sample_all(&arguments, sampler, seeds, count, &totals);
    const double seconds = (double)totals.ns / NS_PER_S;
    printf(arguments.json
               ? "{\"batches\":%llu,\"seeds\":%llu,\"edges\":%llu,\"inputs\":%llu,"
                 "\"seconds\":%.6f,\"edges_per_second\":%.0f}\n"
               : "%llu batches: %llu seeds, %llu edges, %llu inputs in %.3f s, %.0f edges/s\n",
           (unsigned long long)totals.batches, (unsigned long long)totals.seeds,
           (unsigned long long)totals.edges, (unsigned long long)totals.inputs, seconds,
           seconds > 0 ? (double)totals.edges / seconds : 0.0);
out:
    neighbor_sampler_destroy(sampler);
    free(seeds);
    graph_close(graph);
    return status == STATUS_OK ? EX_OK : program_fail(status, &error);
}
