/* anthill-graph export: edges and nodes as tables that `import edges` and others read. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "common/file.h"
#include "common/program.h"
#include "graph/graph_commands.h"
#include "graph/graph_mapping.h"

struct arguments {
    const char *path, *out;
    bool inverse;
};

static const struct argp_option options[] = {
    {"out", 'o', "DIR", 0,
     "folder for edges.tsv and nodes.tsv (and features.svm where features are sparse); or a file "
     "that ends in .tsv, or -, for the edges alone",
     0},
    {"inverse", 'i', NULL, 0, "edges of inverse types too", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'o':
        arguments->out = value;
        return 0;
    case 'i':
        arguments->inverse = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path != NULL) argp_error(state, "\"%s\" is one argument too many", value);
        arguments->path = value;
        return 0;
    case ARGP_KEY_END:
        if (arguments->path == NULL) argp_error(state, "the folder of a graph is needed");
        if (arguments->out == NULL) argp_error(state, "--out is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "DIR --out DIR",
    .doc = "Writes a graph as tab separated tables with the ids or names that its data had. The "
           "first line of a table names its columns."};

static void node_print(const struct graph *graph, uint64_t node, FILE *file)
{
    uint32_t bytes;
    const char *name = graph_node_name(graph, node, &bytes);
    if (name != NULL)
        fwrite(name, 1, bytes, file);
    else
        fprintf(file, "%" PRIu64, graph_external_id(graph, node));
}

static const char *split_name(unsigned code)
{
    static const char *const names[] = {"train", "valid", "test", "none"};
    return names[code < GRAPH_SPLIT_NONE ? code : GRAPH_SPLIT_NONE];
}

/* The edge's columns are those that the graph has, src and dst first. */
static void edge_print(const struct graph *graph, const struct graph_partition *partition,
                       uint64_t src, uint64_t dst, uint64_t edge, FILE *file)
{
    node_print(graph, src, file);
    putc('\t', file);
    node_print(graph, dst, file);
    if (partition->types != NULL)
        fprintf(file, "\t%s", graph->info.edge_types[partition->types[edge]].name);
    if (partition->weights != NULL) fprintf(file, "\t%.9g", (double)partition->weights[edge]);
    if (partition->times != NULL) fprintf(file, "\t%" PRId64, partition->times[edge]);
    if (partition->edge_splits != NULL)
        fprintf(file, "\t%s", split_name(partition->edge_splits[edge]));
    putc('\n', file);
}

static enum status edges_print(const struct graph *graph, bool inverse, FILE *file,
                               struct error *error)
{
    const struct graph_partition *first = &graph->partitions[0];
    fprintf(file, "src\tdst%s%s%s%s\n", first->types != NULL ? "\ttype" : "",
            first->weights != NULL ? "\tweight" : "", first->times != NULL ? "\ttime" : "",
            first->edge_splits != NULL ? "\tsplit" : "");
    for (uint32_t p = 0; p < graph->partition_count; p++) {
        const struct graph_partition *partition = &graph->partitions[p];
        for (uint64_t dst = partition->start; dst < partition->end; dst++) {
            const uint64_t end = partition->indptr[dst - partition->start + 1];
            for (uint64_t e = partition->indptr[dst - partition->start]; e < end; e++) {
                const uint16_t type = partition->types != NULL ? partition->types[e] : 0;
                if (type >= graph->info.edge_type_count)
                    return error_set(error, STATUS_CORRUPT,
                                     "part-%u/edge_type.npy: %u is no edge type", p, type);
                if (!inverse && graph->info.edge_types[type].inverse) continue;
                edge_print(graph, partition, graph_global(graph, p, partition->indices[e]), dst, e,
                           file);
            }
            if (program_stop_requested())
                return error_set(error, STATUS_STOPPED, "stopped by a signal");
        }
    }
    return STATUS_OK;
}

static void label_print(const struct graph_info *info, int32_t label, FILE *file)
{
    if (info->class_names != NULL && label >= 0 && (uint32_t)label < info->class_count)
        fputs(info->class_names[label], file);
    else if (info->class_names == NULL)
        fprintf(file, "%d", label);
}

static void nodes_header(const struct graph *graph, FILE *file)
{
    const struct graph_info *info = &graph->info;
    fprintf(file, "id%s%s", info->has_labels ? "\tlabel" : "",
            info->split_count > 0 ? "\tsplit" : "");
    for (uint32_t split = 1; split < info->split_count; split++)
        fprintf(file, "\tsplit%u", split);
    for (uint32_t f = 0; info->features == GRAPH_FEATURES_DENSE && f < info->feature_dim; f++)
        fprintf(file, "\tf%u", f);
    putc('\n', file);
}

static enum status nodes_print(const struct graph *graph, FILE *file, struct error *error)
{
    const struct graph_info *info = &graph->info;
    nodes_header(graph, file);
    for (uint64_t node = 0; node < info->node_count; node++) {
        uint64_t row;
        const struct graph_partition *partition = graph_home(graph, node, &row);
        node_print(graph, node, file);
        if (partition->labels != NULL) {
            putc('\t', file);
            label_print(info, partition->labels[row], file);
        }
        for (uint32_t split = 0; split < info->split_count; split++)
            fprintf(file, "\t%s", split_name(partition->splits[row * info->split_count + split]));
        for (uint32_t f = 0; partition->dense != NULL && f < info->feature_dim; f++)
            fprintf(file, "\t%.9g", (double)partition->dense[row * info->feature_dim + f]);
        putc('\n', file);
        if (program_stop_requested())
            return error_set(error, STATUS_STOPPED, "stopped by a signal");
    }
    return STATUS_OK;
}

static enum status features_print(const struct graph *graph, FILE *file, struct error *error)
{
    for (uint64_t node = 0; node < graph->info.node_count; node++) {
        uint64_t row;
        const struct graph_partition *partition = graph_home(graph, node, &row);
        fprintf(file, "%d", partition->labels != NULL ? partition->labels[row] : -1);
        const uint64_t end = partition->feature_indptr[row + 1];
        for (uint64_t i = partition->feature_indptr[row]; i < end; i++) {
            fprintf(file, " %u:%.9g", partition->feature_columns[i],
                    (double)partition->feature_values[i]);
        }
        putc('\n', file);
        if (program_stop_requested())
            return error_set(error, STATUS_STOPPED, "stopped by a signal");
    }
    return STATUS_OK;
}

enum table { TABLE_EDGES, TABLE_NODES, TABLE_FEATURES };

static enum status table_write(const struct arguments *arguments, const struct graph *graph,
                               const char *folder, const char *name, enum table table,
                               struct error *error)
{
    char path[FILE_PATH_BYTES];
    const bool standard_output = strcmp(name, "-") == 0;
    enum status status =
        file_path(path, error, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
    if (status != STATUS_OK) return status;
    FILE *file = standard_output ? stdout : fopen(path, "we");
    if (file == NULL) return error_set_errno(error, STATUS_IO, errno, "%s: cannot create", path);
    if (table == TABLE_EDGES)
        status = edges_print(graph, arguments->inverse, file, error);
    else if (table == TABLE_NODES)
        status = nodes_print(graph, file, error);
    else
        status = features_print(graph, file, error);
    if (fflush(file) != 0 || ferror(file)) {
        if (status == STATUS_OK)
            status = error_set_errno(error, STATUS_IO, errno, "%s: cannot write", path);
    }
    if (!standard_output) fclose(file);
    if (status != STATUS_OK && !standard_output) remove(path);
    return status;
}

static bool is_edge_file(const char *out)
{
    size_t bytes = strlen(out);
    return strcmp(out, "-") == 0 || (bytes > 4 && strcmp(out + bytes - 4, ".tsv") == 0);
}

static enum status file_export(const struct arguments *arguments, const struct graph *graph,
                               struct error *error)
{
    char partial[FILE_PATH_BYTES];
    if (strcmp(arguments->out, "-") == 0)
        return table_write(arguments, graph, "", "-", TABLE_EDGES, error);
    enum status status = file_path(partial, error, "%s.partial", arguments->out);
    if (status == STATUS_OK)
        status = table_write(arguments, graph, "", partial, TABLE_EDGES, error);
    if (status == STATUS_OK && rename(partial, arguments->out) != 0)
        status = error_set_errno(error, STATUS_IO, errno, "%s: cannot create", arguments->out);
    return status;
}

static enum status folder_export(const struct arguments *arguments, const struct graph *graph,
                                 struct error *error)
{
    char partial[FILE_PATH_BYTES];
    if (file_exists(arguments->out))
        return error_set(error, STATUS_INVALID, "%s exists: it is left as it is", arguments->out);
    enum status status = file_path(partial, error, "%s.partial", arguments->out);
    if (status != STATUS_OK) return status;
    status = file_dir_remove(partial, error);
    if (status == STATUS_OK) status = file_dir_create(partial, error);
    if (status == STATUS_OK)
        status = table_write(arguments, graph, partial, "edges.tsv", TABLE_EDGES, error);
    if (status == STATUS_OK)
        status = table_write(arguments, graph, partial, "nodes.tsv", TABLE_NODES, error);
    if (status == STATUS_OK && graph->info.features == GRAPH_FEATURES_SPARSE)
        status = table_write(arguments, graph, partial, "features.svm", TABLE_FEATURES, error);
    if (status == STATUS_OK) status = file_dir_publish(partial, arguments->out, error);
    struct error ignored;
    if (status != STATUS_OK && file_dir_remove(partial, &ignored) != STATUS_OK)
        error_wrap(error, status, "%s is left behind", partial);
    return status;
}

int export_command(int argc, char **argv)
{
    struct arguments arguments = {.path = NULL};
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    enum status status = graph_open(&graph, arguments.path, 0, &error);
    if (status == STATUS_OK && is_edge_file(arguments.out))
        status = file_export(&arguments, graph, &error);
    else if (status == STATUS_OK)
        status = folder_export(&arguments, graph, &error);
    graph_close(graph);
    return status == STATUS_OK ? EX_OK : program_fail(status, &error);
}
