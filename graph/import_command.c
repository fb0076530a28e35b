/* anthill-graph import: the command line, configurations, and whether there is anything to do. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/program.h"
#include "common/text.h"
#include "graph/graph_commands.h"
#include "graph/importers/import_job.h"

#define MEMORY_DEFAULT (UINT64_C(256) << 20)
#define MEMORY_LEAST   (UINT64_C(1) << 20)

static const struct {
    const char *name;
    import_function *run;
} formats[] = {{"edges", import_edges},
               {"svmlight", import_svmlight},
               {"numpy", import_numpy},
               {"triples", import_triples},
               {"debian", import_debian}};

#define FORMAT_COUNT (sizeof formats / sizeof *formats)
enum { EDGES = 1, SVMLIGHT = 2, NUMPY = 4, TRIPLES = 8, DEBIAN = 16 };

enum import_option {
    OPTION_NODES = 256,
    OPTION_EDGES,
    OPTION_SPLIT,
    OPTION_COLUMNS,
    OPTION_SEPARATOR,
    OPTION_HEADER,
    OPTION_IDS,
    OPTION_EDGE_INDEX,
    OPTION_FEATURES,
    OPTION_LABELS,
    OPTION_SPLITS,
    OPTION_TRAIN,
    OPTION_VALID,
    OPTION_TEST,
    OPTION_LISTS,
    OPTION_SEED,
    OPTION_PARTITIONS,
    OPTION_PARTITION_BY,
    OPTION_DIRECTED,
    OPTION_SYMMETRIC,
    OPTION_INVERSE,
    OPTION_DEDUPE,
    OPTION_NO_DEDUPE,
    OPTION_NO_SELF_LOOPS,
    OPTION_SKIP_BAD,
    OPTION_NORMALIZE,
    OPTION_MEMORY,
    OPTION_CONFIG,
    OPTION_SET,
};

static const struct argp_option options[] = {
    {"out", 'o', "DIR", 0, "folder of the graph; an older graph there is replaced", 1},
    {"config", OPTION_CONFIG, "CONF", 0,
     "import what graph.import of a configuration says into graph.path, unless that was done", 1},
    {"set", OPTION_SET, "KEY=VALUE", 0, "with --config: change the configuration", 1},
    {"quiet", 'q', NULL, 0, "no progress on stderr", 1},
    {NULL, 0, NULL, 0, "Inputs (text may be compressed by gzip; - is standard input):", 2},
    {"edges", OPTION_EDGES, "FILE", 0, "edges, svmlight: table of edges", 2},
    {"nodes", OPTION_NODES, "FILE", 0,
     "edges: table with a header, columns id, label, split, others are features; svmlight, numpy: "
     "svmlight rows",
     2},
    {"columns", OPTION_COLUMNS, "LIST", 0,
     "edges, svmlight: what the columns of --edges are, of src, dst, weight, type, time and - "
     "(default src,dst)",
     2},
    {"separator", OPTION_SEPARATOR, "CHAR", 0,
     "edges, svmlight: comma, tab or space (default: as in the first line)", 2},
    {"header", OPTION_HEADER, NULL, 0, "edges, svmlight: the first row of --edges is passed over",
     2},
    {"ids", OPTION_IDS, "KIND", 0,
     "edges, triples: number or name (default: number when the first id is one)", 2},
    {"split", OPTION_SPLIT, "FILE", 0, "svmlight: table of node and train, valid, test or none", 2},
    {"edge-index", OPTION_EDGE_INDEX, "ARRAY", 0,
     "numpy: [2, edges], src then dst; FILE.npy or FILE.npz:MEMBER, as all arrays", 2},
    {"features", OPTION_FEATURES, "ARRAY", 0, "numpy: [nodes, dim]", 2},
    {"labels", OPTION_LABELS, "ARRAY", 0, "numpy: [nodes], -1: unknown", 2},
    {"splits", OPTION_SPLITS, "ARRAY", 0,
     "numpy: [nodes] or [k, nodes]: 0 train, 1 valid, 2 test, others none", 2},
    {"train", OPTION_TRAIN, "FILE", 0, "triples: head, relation, tail", 2},
    {"valid", OPTION_VALID, "FILE", 0, "triples", 2},
    {"test", OPTION_TEST, "FILE", 0, "triples", 2},
    {"lists", OPTION_LISTS, "DIR", 0, "debian: apt's package lists (default /var/lib/apt/lists)",
     2},
    {"seed", OPTION_SEED, "N", 0, "debian: of the split (default 1)", 2},
    {NULL, 0, NULL, 0, "Edges and nodes:", 3},
    {"directed", OPTION_DIRECTED, NULL, 0, "edges as they are (default, but for debian)", 3},
    {"symmetric", OPTION_SYMMETRIC, NULL, 0, "add each edge's reverse, with the same type", 3},
    {"inverse", OPTION_INVERSE, NULL, 0,
     "add each edge's reverse, with a type of its own: TYPE-inverse (default for debian)", 3},
    {"dedupe", OPTION_DEDUPE, NULL, 0,
     "keep the first of equal (src, dst, type, time) (default for --symmetric and debian)", 3},
    {"no-dedupe", OPTION_NO_DEDUPE, NULL, 0, "keep all edges", 3},
    {"no-self-loops", OPTION_NO_SELF_LOOPS, NULL, 0, "drop edges from a node to itself", 3},
    {"normalize-features", OPTION_NORMALIZE, "KIND", 0,
     "l2: rows of length 1 (default for debian); none", 3},
    {"partitions", OPTION_PARTITIONS, "P", 0, "number of partitions (default 1)", 3},
    {"partition-by", OPTION_PARTITION_BY, "KIND", 0,
     "hash of the external id (default), or range: equal pieces of the order of ids", 3},
    {"skip-bad", OPTION_SKIP_BAD, "N", 0, "pass over up to N bad rows (default 0: stop)", 3},
    {"memory", OPTION_MEMORY, "BYTES", 0, "for sorting edges (default 256M)", 3},
    {0}};

static const struct {
    int option, formats;
} uses[] = {{OPTION_EDGES, EDGES | SVMLIGHT},
            {OPTION_NODES, EDGES | SVMLIGHT | NUMPY},
            {OPTION_COLUMNS, EDGES | SVMLIGHT},
            {OPTION_SEPARATOR, EDGES | SVMLIGHT},
            {OPTION_HEADER, EDGES | SVMLIGHT},
            {OPTION_IDS, EDGES | TRIPLES},
            {OPTION_SPLIT, SVMLIGHT},
            {OPTION_EDGE_INDEX, NUMPY},
            {OPTION_FEATURES, NUMPY},
            {OPTION_LABELS, NUMPY},
            {OPTION_SPLITS, NUMPY},
            {OPTION_TRAIN, TRIPLES},
            {OPTION_VALID, TRIPLES},
            {OPTION_TEST, TRIPLES},
            {OPTION_LISTS, DEBIAN},
            {OPTION_SEED, DEBIAN}};

struct arguments {
    struct import_job job;
    int format;    /* index into formats, -1: none */
    uint64_t used; /* bit i: uses[i] was given */
    const char *config;
    struct string_list overrides;
    bool others; /* something that --config does not go with */
};

static bool one_of(const char *text, const char *first, const char *second, bool *is_second)
{
    *is_second = strcmp(text, second) == 0;
    return *is_second || strcmp(text, first) == 0;
}

static char separator_parse(const char *text, const struct argp_state *state)
{
    if (strcmp(text, "comma") == 0 || strcmp(text, ",") == 0) return ',';
    if (strcmp(text, "tab") == 0 || strcmp(text, "\t") == 0 || strcmp(text, "\\t") == 0)
        return '\t';
    if (strcmp(text, "space") == 0 || strcmp(text, " ") == 0) return ' ';
    argp_error(state, "--separator: \"%s\" is none of comma, tab and space", text);
    return 0;
}

/* Options that only some formats have. */
static void input_option(struct import_job *job, int key, const char *value,
                         const struct argp_state *state)
{
    bool name;
    const char **const files[] = {
        [OPTION_EDGES - OPTION_NODES] = &job->edges,
        [0] = &job->nodes,
        [OPTION_SPLIT - OPTION_NODES] = &job->split,
        [OPTION_COLUMNS - OPTION_NODES] = &job->columns,
        [OPTION_EDGE_INDEX - OPTION_NODES] = &job->edge_index,
        [OPTION_FEATURES - OPTION_NODES] = &job->features,
        [OPTION_LABELS - OPTION_NODES] = &job->labels,
        [OPTION_SPLITS - OPTION_NODES] = &job->splits,
        [OPTION_TRAIN - OPTION_NODES] = &job->train,
        [OPTION_VALID - OPTION_NODES] = &job->valid,
        [OPTION_TEST - OPTION_NODES] = &job->test,
        [OPTION_LISTS - OPTION_NODES] = &job->lists,
    };
    switch (key) {
    case OPTION_SEPARATOR:
        job->separator = separator_parse(value, state);
        return;
    case OPTION_HEADER:
        job->header = true;
        return;
    case OPTION_IDS:
        if (!one_of(value, "number", "name", &name))
            argp_error(state, "--ids: \"%s\" is neither number nor name", value);
        job->ids = name ? IMPORT_IDS_NAME : IMPORT_IDS_NUMBER;
        return;
    case OPTION_SEED:
        if (!command_parse_number(value, 0, UINT64_MAX, &job->seed))
            argp_error(state, "--seed: \"%s\" is no whole number", value);
        return;
    default:
        *files[key - OPTION_NODES] = value;
    }
}

static void number_option(uint64_t *number, const char *name, const char *value, uint64_t least,
                          uint64_t most, const struct argp_state *state)
{
    if (!command_parse_number(value, least, most, number)) {
        argp_error(state, "--%s: \"%s\" is no whole number from %llu to %llu", name, value,
                   (unsigned long long)least, (unsigned long long)most);
    }
}

static void graph_option(struct import_job *job, int key, const char *value,
                         const struct argp_state *state)
{
    uint64_t number = 1;
    bool second = false;
    switch (key) {
    case OPTION_DIRECTED:
    case OPTION_SYMMETRIC:
    case OPTION_INVERSE:
        job->graph.reverse = (enum graph_reverse)(REVERSE_NONE + key - OPTION_DIRECTED);
        job->reverse_chosen = true;
        break;
    case OPTION_DEDUPE:
        job->dedupe = IMPORT_YES;
        break;
    case OPTION_NO_DEDUPE:
        job->dedupe = IMPORT_NO;
        break;
    case OPTION_NO_SELF_LOOPS:
        job->graph.drop_self_loops = true;
        break;
    case OPTION_NORMALIZE:
        if (!one_of(value, "l2", "none", &second))
            argp_error(state, "--normalize-features: \"%s\" is neither l2 nor none", value);
        job->normalize = second ? IMPORT_NO : IMPORT_YES;
        break;
    case OPTION_PARTITIONS:
        number_option(&number, "partitions", value, 1, 65536, state);
        job->graph.partitions = (uint32_t)number;
        break;
    case OPTION_PARTITION_BY:
        if (!one_of(value, "hash", "range", &job->graph.by_range))
            argp_error(state, "--partition-by: \"%s\" is neither hash nor range", value);
        break;
    case OPTION_SKIP_BAD:
        number_option(&job->skip_bad, "skip-bad", value, 0, UINT64_MAX, state);
        break;
    default:
        if (!command_parse_size(value, &job->graph.memory_bytes) ||
            job->graph.memory_bytes < MEMORY_LEAST)
            argp_error(state, "--memory: \"%s\" is no size of at least 1M", value);
    }
}

static void finish_check(struct arguments *arguments, const struct argp_state *state)
{
    if (arguments->config != NULL) {
        if (arguments->others || arguments->format >= 0)
            argp_error(state, "with --config only --set and --quiet are possible");
        return;
    }
    if (arguments->format < 0)
        argp_error(state, "a format is needed: edges, svmlight, numpy, triples or debian");
    if (arguments->overrides.count > 0) argp_error(state, "--set goes with --config only");
    if (arguments->job.graph.out == NULL) argp_error(state, "--out DIR is needed");
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        if ((arguments->used >> i & 1) == 0 || (uses[i].formats >> arguments->format & 1) != 0)
            continue;
        for (const struct argp_option *o = options; o->name != NULL || o->doc != NULL; o++) {
            if (o->key == uses[i].option)
                argp_error(state, "--%s does not go with %s", o->name,
                           formats[arguments->format].name);
        }
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        if (uses[i].option != key) continue;
        arguments->used |= UINT64_C(1) << i;
        arguments->others = true;
        input_option(&arguments->job, key, value, state);
        return 0;
    }
    if (key >= OPTION_PARTITIONS && key <= OPTION_MEMORY) {
        arguments->others = true;
        graph_option(&arguments->job, key, value, state);
        return 0;
    }
    switch (key) {
    case 'o':
        arguments->job.graph.out = value;
        arguments->others |= true;
        return 0;
    case 'q':
        arguments->job.quiet = true;
        return 0;
    case OPTION_CONFIG:
        arguments->config = value;
        return 0;
    case OPTION_SET:
        string_list_add(&arguments->overrides, value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->format >= 0) argp_error(state, "\"%s\" is one argument too many", value);
        for (size_t i = 0; i < FORMAT_COUNT; i++)
            if (strcmp(value, formats[i].name) == 0) arguments->format = (int)i;
        if (arguments->format < 0)
            argp_error(state,
                       "unknown format \"%s\": expected edges, svmlight, numpy, triples or debian",
                       value);
        return 0;
    case ARGP_KEY_END:
        finish_check(arguments, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "FORMAT --out DIR\n--config CONF",
    .doc = "Makes a graph folder from data. FORMAT is edges, svmlight, numpy, triples or debian."};

static struct arguments arguments_default(void)
{
    return (struct arguments){
        .format = -1,
        .job = {.seed = 1, .graph = {.partitions = 1, .memory_bytes = MEMORY_DEFAULT}}};
}

/* The words that were given, quoted as for a shell, without where the graph goes. */
static char *arguments_record(int argc, char **argv)
{
    struct text text = {.data = NULL};
    text_add(&text, "import");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--out") == 0 || strcmp(argv[i], "-o") == 0) {
            i++;
            continue;
        }
        if (strncmp(argv[i], "--out=", 6) == 0 || strncmp(argv[i], "-o", 2) == 0) continue;
        if (strcmp(argv[i], "--quiet") == 0 || strcmp(argv[i], "-q") == 0) continue;
        const bool plain = argv[i][0] != '\0' && strpbrk(argv[i], " \t\n'\"\\") == NULL;
        text_add(&text, " %s", plain ? "" : "'");
        for (const char *c = argv[i]; *c != '\0'; c++) {
            if (*c == '\'')
                text_add(&text, "'\\''");
            else
                text_add(&text, "%c", *c);
        }
        text_add(&text, "%s", plain ? "" : "'");
    }
    return text_take(&text);
}

static int import_run(struct arguments *arguments, const char *record)
{
    struct error error = {.text = ""};
    struct graph_summary summary;
    struct import_job *job = &arguments->job;
    const uint64_t start_ns = clock_now_ns();
    job->graph.arguments = record;
    enum status status = formats[arguments->format].run(job, &summary, &error);
    if (status == STATUS_OK && !job->quiet) {
        fprintf(stderr,
                "%s: %llu nodes, %llu edges of %u types, %u feature columns, %u classes; %.1f s\n",
                job->graph.out, (unsigned long long)summary.node_count,
                (unsigned long long)summary.edge_count, summary.edge_type_count,
                summary.feature_dim, summary.class_count,
                (double)(clock_now_ns() - start_ns) / NS_PER_S);
    }
    const struct {
        uint64_t count;
        const char *what;
    } dropped[] = {{job->bad_count, "bad rows"},
                   {summary.dropped.duplicates, "repeated edges"},
                   {summary.dropped.self_loops, "self-loops"},
                   {job->dropped_targets, "relations to packages that do not exist"}};
    for (size_t i = 0; status == STATUS_OK && !job->quiet && i < sizeof dropped / sizeof *dropped;
         i++) {
        if (dropped[i].count > 0)
            fprintf(stderr, "left out: %llu %s\n", (unsigned long long)dropped[i].count,
                    dropped[i].what);
    }
    return status == STATUS_OK ? EX_OK : program_fail(status, &error);
}

/* Whether the graph at `path` was made by these arguments from files that look the same now. */
static bool is_up_to_date(const char *path, const char *record)
{
    struct graph_metadata *metadata = NULL;
    struct error error;
    if (graph_metadata_load(&metadata, path, NULL, &error) != STATUS_OK) return false;
    bool same = strcmp(metadata->arguments, record) == 0 && metadata->sources_count > 0;
    for (uint32_t i = 0; i < metadata->sources_count && same; i++) {
        const struct graph_metadata_source *source = &metadata->sources[i];
        struct stat now;
        same = stat(source->path, &now) == 0 && (uint64_t)now.st_size == source->bytes &&
               (uint64_t)now.st_mtim.tv_sec * NS_PER_S + (uint64_t)now.st_mtim.tv_nsec ==
                   source->mtime_ns;
    }
    graph_metadata_destroy(metadata);
    return same;
}

/* Splits as a shell does, without any expansion; words[count] is NULL. The words stand in `text`,
 * which changes. False when a quote is not closed. */
static bool words_split(char *text, struct string_list *words)
{
    char *from = text, *to = text;
    for (;;) {
        while (*from == ' ' || *from == '\t' || *from == '\n')
            from++;
        if (*from == '\0') break;
        string_list_add(words, to);
        char quote = '\0';
        for (; *from != '\0' && (quote != '\0' || strchr(" \t\n", *from) == NULL); from++) {
            if (quote == '\0' && (*from == '\'' || *from == '"')) {
                quote = *from;
            } else if (quote != '\0' && *from == quote) {
                quote = '\0';
            } else {
                if (*from == '\\' && quote != '\'' && from[1] != '\0') from++;
                *to++ = *from;
            }
        }
        if (quote != '\0') return false;
        const bool last = *from == '\0';
        *to++ = '\0';
        if (last) break;
        from++;
    }
    string_list_add(words, NULL);
    words->count--;
    return true;
}

static int config_run(const struct arguments *given)
{
    struct error error = {.text = ""};
    struct config *config = NULL;
    struct string_list words = {.items = NULL};
    char *record = NULL;
    int code = EX_CONFIG;
    enum status status =
        config_load(&config, given->config, given->overrides.items, given->overrides.count, &error);
    if (status != STATUS_OK) return program_fail(status, &error);
    string_list_add(&words, "graph.import");
    if (config->graph.path[0] == '\0' || config->graph.import[0] == '\0') {
        status = error_set(&error, STATUS_CONFIG, "%s: %s is empty", given->config,
                           config->graph.path[0] == '\0' ? "graph.path" : "graph.import");
    } else if (!words_split(config->graph.import, &words)) {
        status = error_set(&error, STATUS_CONFIG, "%s: graph.import: a quote is not closed",
                           given->config);
    }
    if (status != STATUS_OK) {
        code = program_fail(status, &error);
        goto out;
    }
    struct arguments arguments = arguments_default();
    arguments.job.quiet = given->job.quiet;
    arguments.job.graph.out = config->graph.path;
    argp_err_exit_status = EX_CONFIG;
    /* argp sorts the words that it parses. */
    record = arguments_record((int)words.count, words.items);
    argp_parse(&argp, (int)words.count, words.items, 0, NULL, &arguments);
    if (is_up_to_date(config->graph.path, record)) {
        fprintf(stderr, "%s is up to date: the same import of the same files\n",
                config->graph.path);
        code = EX_OK;
    } else {
        code = import_run(&arguments, record);
    }
    string_list_deinit(&arguments.overrides);
out:
    free(record);
    string_list_deinit(&words);
    config_destroy(config);
    return code;
}

int import_command(int argc, char **argv)
{
    struct arguments arguments = arguments_default();
    char *record = arguments_record(argc, argv);
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    int code = arguments.config != NULL ? config_run(&arguments) : import_run(&arguments, record);
    free(record);
    string_list_deinit(&arguments.overrides);
    return code;
}
