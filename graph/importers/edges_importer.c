/* Edge lists with an optional table of nodes. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/importers/import_job.h"

enum node_column { NODE_ID, NODE_LABEL, NODE_SPLIT, NODE_FEATURE };

/* The table of nodes: its columns by their names in the header. */
struct node_table {
    struct table_reader *reader;
    enum node_column *columns;
    size_t column_count;
    uint32_t feature_count;
    bool labels_numbered, labels_known; /* numbers or names: the first label decides */
    float *features;
};

static enum status node_table_header(struct node_table *table, struct error *error)
{
    struct table_row row;
    enum status status = table_reader_next(table->reader, &row, error);
    if (status != STATUS_OK) return status;
    unsigned seen[NODE_FEATURE + 1] = {0};
    table->columns = malloc((row.count + 1) * sizeof *table->columns);
    CHECK(table->columns != NULL);
    table->column_count = row.count;
    for (size_t i = 0; i < row.count; i++) {
        const char *name = row.fields[i].text;
        table->columns[i] = strcmp(name, "id") == 0      ? NODE_ID
                            : strcmp(name, "label") == 0 ? NODE_LABEL
                            : strcmp(name, "split") == 0 ? NODE_SPLIT
                                                         : NODE_FEATURE;
        seen[table->columns[i]]++;
    }
    if (seen[NODE_ID] != 1 || seen[NODE_LABEL] > 1 || seen[NODE_SPLIT] > 1) {
        return error_set(error, STATUS_CORRUPT,
                         "%s:%llu: expected a header with one column \"id\", at most one \"label\" "
                         "and one \"split\"",
                         table_reader_path(table->reader),
                         (unsigned long long)table_reader_line(table->reader));
    }
    table->feature_count = seen[NODE_FEATURE];
    table->features = calloc((size_t)table->feature_count + 1, sizeof *table->features);
    CHECK(table->features != NULL);
    return STATUS_OK;
}

/* Adds a node. NULL or what is wrong with its id. */
static const char *node_add(struct node_index *nodes, const struct field *field, uint32_t *node)
{
    const uint32_t before = node_index_count(nodes);
    uint64_t number;
    const char *reason = import_id_check(nodes, field, &number);
    if (reason != NULL) return reason;
    *node = import_id_add(nodes, field, number);
    if (*node == NODE_NONE) return "more than 2^32 nodes";
    return *node < before ? "the node is there twice" : NULL;
}

/* NULL or what is wrong with the label. */
static const char *label_parse(struct node_table *table, struct graph_builder *builder,
                               const struct field *field, int32_t *label)
{
    int64_t number;
    *label = -1;
    if (field->bytes == 0) return NULL;
    const bool numbered = parse_i64(field, &number);
    if (!table->labels_known) table->labels_numbered = numbered;
    table->labels_known = true;
    if (!table->labels_numbered) {
        *label = graph_builder_class(builder, field->text, field->bytes);
        return NULL;
    }
    if (!numbered) return "the label is no number, as the first one was";
    if (number < -1 || number > INT32_MAX - 1) return "the label is out of range";
    *label = (int32_t)number;
    return NULL;
}

/* Checks all but id and label, which leave traces, and only then those. */
static enum status node_row(struct import_job *job, struct graph_builder *builder,
                            struct node_table *table, const struct table_row *row,
                            struct error *error)
{
    const char *reason = NULL, *fault = "";
    enum graph_split split = GRAPH_SPLIT_NONE;
    uint32_t feature = 0, node = NODE_NONE;
    int32_t label = -1;
    bool labelled = false, divided = false;
    const char *path = table_reader_path(table->reader);
    const uint64_t line = table_reader_line(table->reader);
    if (row->count != table->column_count) {
        return import_bad_row(job, path, line, error, "expected %zu columns, found %zu",
                              table->column_count, row->count);
    }
    for (size_t i = 0; i < row->count && reason == NULL; i++) {
        const struct field *field = &row->fields[i];
        fault = field->text;
        if (table->columns[i] == NODE_FEATURE && !parse_f32(field, &table->features[feature++]))
            reason = "the feature is no finite number";
        if (table->columns[i] != NODE_SPLIT) continue;
        divided = true;
        if (field->bytes > 0 && !import_split_code(field, &split))
            reason = "is no split: expected train, valid, test or none";
    }
    for (enum node_column kind = NODE_ID; kind <= NODE_LABEL && reason == NULL; kind++) {
        for (size_t i = 0; i < row->count && reason == NULL; i++) {
            if (table->columns[i] != kind) continue;
            fault = row->fields[i].text;
            labelled |= kind == NODE_LABEL;
            reason = kind == NODE_ID
                         ? node_add(graph_builder_nodes(builder), &row->fields[i], &node)
                         : label_parse(table, builder, &row->fields[i], &label);
        }
    }
    if (reason != NULL)
        return import_bad_row(job, path, line, error, "\"%.100s\": %s", fault, reason);
    if (labelled) graph_builder_label(builder, node, label);
    if (divided) graph_builder_split(builder, node, 0, split);
    if (table->feature_count == 0) return STATUS_OK;
    return graph_builder_dense_row(builder, node, table->features, table->feature_count, error);
}

static enum status nodes_read(struct import_job *job, struct graph_builder *builder,
                              struct node_table *table, struct error *error)
{
    struct table_row row;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i] == NODE_SPLIT) graph_builder_split_count(builder, 1);
    for (uint64_t rows = 1; status == STATUS_OK; rows++) {
        status = table_reader_next(table->reader, &row, error);
        if (status != STATUS_OK || row.count == 0) break;
        status = node_row(job, builder, table, &row, error);
        if (status == STATUS_OK) status = import_progress(job, "nodes read", rows, error);
    }
    return status;
}

/* Whether ids are names: as asked for, or as the first row's id shows. The row is given back. */
static enum status names_decide(struct import_job *job, const struct node_table *table,
                                struct table_reader *edges, const struct edge_columns *columns,
                                bool *names, struct error *error)
{
    struct table_row row;
    uint64_t number;
    bool overflow = false;
    *names = job->ids == IMPORT_IDS_NAME;
    if (job->ids != IMPORT_IDS_AUTO) return STATUS_OK;
    struct table_reader *reader = table->reader != NULL ? table->reader : edges;
    enum status status = table_reader_next(reader, &row, error);
    if (status == STATUS_OK && reader == edges && job->header) {
        job->header = false;
        status = table_reader_next(reader, &row, error);
    }
    if (status != STATUS_OK || row.count == 0) return status;
    table_reader_unread(reader);
    for (size_t i = 0; i < row.count && !*names; i++) {
        const bool is_id = reader == edges
                               ? import_edge_column_is_id(columns, i)
                               : i < table->column_count && table->columns[i] == NODE_ID;
        if (is_id) *names = !parse_u64(&row.fields[i], &number, &overflow) && !overflow;
    }
    return STATUS_OK;
}

enum status import_edges(struct import_job *job, struct graph_summary *summary, struct error *error)
{
    struct graph_builder *builder = NULL;
    struct edge_columns *columns = NULL;
    struct table_reader *edges = NULL;
    struct node_table table = {.reader = NULL};
    struct edge_layout layout;
    bool names = false;
    if (job->edges == NULL) return error_set(error, STATUS_USAGE, "edges needs --edges");
    import_defaults(job, REVERSE_NONE, false);
    enum status status = import_edge_columns(job->columns, &columns, &layout, error);
    if (status == STATUS_OK) status = table_reader_open(&edges, job->edges, job->separator, error);
    if (status == STATUS_OK && job->nodes != NULL) {
        status = table_reader_open(&table.reader, job->nodes, 0, error);
        if (status == STATUS_OK) status = node_table_header(&table, error);
    }
    if (status == STATUS_OK) status = names_decide(job, &table, edges, columns, &names, error);
    if (status == STATUS_OK)
        status = graph_builder_create(&builder, &job->graph, names, layout, error);
    if (status == STATUS_OK && job->nodes != NULL) {
        status = graph_builder_source(builder, job->nodes, error);
        if (status == STATUS_OK) status = nodes_read(job, builder, &table, error);
    }
    if (status == STATUS_OK) status = graph_builder_source(builder, job->edges, error);
    if (status == STATUS_OK)
        status = import_edge_rows(job, builder, edges, columns, job->nodes != NULL, error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, summary, error);
    graph_builder_destroy(builder);
    import_edge_columns_destroy(columns);
    table_reader_close(edges);
    table_reader_close(table.reader);
    free(table.columns);
    free(table.features);
    return status;
}
