/* Nodes as rows of an svmlight file, edges and split as tables of row numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/importers/import_job.h"
#include "graph/line_reader.h"

struct sparse_row {
    int64_t label;
    uint32_t *columns;
    float *values;
    uint32_t count, capacity;
};

static void row_add(struct sparse_row *row, uint32_t column, float value)
{
    if (row->count == row->capacity) {
        row->capacity = row->capacity == 0 ? 256 : 2 * row->capacity;
        row->columns = realloc(row->columns, row->capacity * sizeof *row->columns);
        row->values = realloc(row->values, row->capacity * sizeof *row->values);
        CHECK(row->columns != NULL && row->values != NULL);
    }
    row->columns[row->count] = column;
    row->values[row->count++] = value;
}

/* NULL when the pair is good. */
static const char *pair_parse(struct sparse_row *row, char *token)
{
    char *colon = strchr(token, ':');
    uint64_t column;
    float value;
    if (colon == NULL) return "is no column:value";
    *colon = '\0';
    const struct field left = {.text = token, .bytes = (size_t)(colon - token)};
    const struct field right = {.text = colon + 1, .bytes = strlen(colon + 1)};
    bool good = parse_u64(&left, &column, NULL) && column < UINT32_MAX - 1;
    if (!good) return "has no column number before the colon";
    if (row->count > 0 && column <= row->columns[row->count - 1])
        return "has a column that is not greater than the one before";
    if (!parse_f32(&right, &value)) return "has no finite number after the colon";
    row_add(row, (uint32_t)column, value);
    return NULL;
}

/* NULL when the line is good; `fault` is the token that is not. */
static const char *line_parse(char *line, struct sparse_row *row, const char **fault)
{
    row->count = 0;
    row->label = -1;
    char *comment = strchr(line, '#');
    if (comment != NULL) *comment = '\0';
    char *rest = NULL;
    char *token = strtok_r(line, " \t", &rest);
    *fault = "";
    if (token == NULL) return "the row has no label";
    const struct field label = {.text = token, .bytes = strlen(token)};
    *fault = token;
    if (!parse_i64(&label, &row->label) || row->label < -1 || row->label > INT32_MAX - 1)
        return "is no label: expected a whole number from -1 (unknown)";
    while ((token = strtok_r(NULL, " \t", &rest)) != NULL) {
        *fault = token;
        const char *reason = pair_parse(row, token);
        if (reason != NULL) return reason;
    }
    return NULL;
}

enum status import_svmlight_nodes(struct import_job *job, struct graph_builder *builder,
                                  const char *path, struct error *error)
{
    struct line_reader *reader = NULL;
    struct sparse_row row = {.label = 0};
    enum status status = graph_builder_source(builder, path, error);
    if (status == STATUS_OK) status = line_reader_open(&reader, path, error);
    for (uint64_t id = 0; status == STATUS_OK;) {
        char *line;
        size_t bytes;
        const char *fault;
        status = line_reader_next(reader, &line, &bytes, error);
        if (status != STATUS_OK || line == NULL) break;
        if (bytes == 0 || line[0] == '#') continue;
        uint32_t node = node_index_add_number(graph_builder_nodes(builder), id++);
        if (node == NODE_NONE) {
            status = error_set(error, STATUS_INVALID, "%s: more than 2^32 nodes", path);
            break;
        }
        /* A row that is passed over leaves a node without data: later rows keep their ids. */
        const char *reason = line_parse(line, &row, &fault);
        if (reason != NULL) {
            status = import_bad_row(job, path, line_reader_number(reader), error, "\"%.60s\" %s",
                                    fault, reason);
            continue;
        }
        graph_builder_label(builder, node, (int32_t)row.label);
        status = graph_builder_sparse_row(builder, node, row.columns, row.values, row.count, error);
        if (status == STATUS_OK) status = import_progress(job, "nodes read", id, error);
    }
    line_reader_close(reader);
    free(row.columns);
    free(row.values);
    return status;
}

static enum status split_row(struct import_job *job, struct graph_builder *builder,
                             struct table_reader *reader, const struct table_row *row,
                             struct error *error)
{
    const char *path = table_reader_path(reader);
    const uint64_t line = table_reader_line(reader);
    uint64_t id;
    enum graph_split code;
    if (row->count != 2)
        return import_bad_row(job, path, line, error, "expected 2 columns, found %zu", row->count);
    if (!parse_u64(&row->fields[0], &id, NULL)) {
        return import_bad_row(job, path, line, error, "\"%.60s\" is no node number",
                              row->fields[0].text);
    }
    uint32_t node = node_index_find_number(graph_builder_nodes(builder), id);
    if (node == NODE_NONE) {
        return import_bad_row(job, path, line, error, "node %llu does not exist: there are %u",
                              (unsigned long long)id,
                              node_index_count(graph_builder_nodes(builder)));
    }
    if (!import_split_code(&row->fields[1], &code)) {
        return import_bad_row(job, path, line, error,
                              "\"%.60s\" is no split: expected train, valid, test or none",
                              row->fields[1].text);
    }
    graph_builder_split(builder, node, 0, code);
    return STATUS_OK;
}

static enum status split_read(struct import_job *job, struct graph_builder *builder,
                              struct error *error)
{
    struct table_reader *reader = NULL;
    struct table_row row;
    if (job->split == NULL) return STATUS_OK;
    enum status status = graph_builder_source(builder, job->split, error);
    if (status == STATUS_OK) status = table_reader_open(&reader, job->split, 0, error);
    graph_builder_split_count(builder, 1);
    while (status == STATUS_OK) {
        status = table_reader_next(reader, &row, error);
        if (status != STATUS_OK || row.count == 0) break;
        status = split_row(job, builder, reader, &row, error);
    }
    table_reader_close(reader);
    return status;
}

static enum status edges_read(struct import_job *job, struct graph_builder *builder,
                              const struct edge_columns *columns, struct error *error)
{
    struct table_reader *reader = NULL;
    enum status status = graph_builder_source(builder, job->edges, error);
    if (status == STATUS_OK) status = table_reader_open(&reader, job->edges, job->separator, error);
    if (status == STATUS_OK) status = import_edge_rows(job, builder, reader, columns, true, error);
    table_reader_close(reader);
    return status;
}

enum status import_svmlight(struct import_job *job, struct graph_summary *summary,
                            struct error *error)
{
    struct graph_builder *builder = NULL;
    struct edge_columns *columns = NULL;
    struct edge_layout layout;
    if (job->nodes == NULL || job->edges == NULL)
        return error_set(error, STATUS_USAGE, "svmlight needs --nodes and --edges");
    import_defaults(job, REVERSE_NONE, false);
    enum status status = import_edge_columns(job->columns, &columns, &layout, error);
    if (status == STATUS_OK)
        status = graph_builder_create(&builder, &job->graph, false, layout, error);
    if (status == STATUS_OK) status = import_svmlight_nodes(job, builder, job->nodes, error);
    if (status == STATUS_OK) status = split_read(job, builder, error);
    if (status == STATUS_OK) status = edges_read(job, builder, columns, error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, summary, error);
    graph_builder_destroy(builder);
    import_edge_columns_destroy(columns);
    return status;
}
